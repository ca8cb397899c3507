"""The process that follows a training for Weights & Biases; see the package. Its standard input ends with the training.

It is nobody's child: a signal that ends the training and all its children would end W&B's service with them, and what
that has not written would be lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any

from shared.errors import UserError, described
from trainer.reporting.weights_and_biases import ENDS, FINISH_SECONDS, SAYS

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_LOOK_SECONDS = 1.0


def main() -> None:
    """Follows the training that the file descriptor on the command line tells of."""
    if os.fork():
        os._exit(0)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with open(int(sys.argv[1]), "rb") as file:
        order = json.load(file)
    over = threading.Event()
    threading.Thread(target=_watch, args=(over,), daemon=True).start()
    _tell(f"{ENDS} {_follow(order, over)}")
    os._exit(0)  # what W&B does at an exit may take for ever


def _follow(order: dict[str, Any], over: threading.Event) -> str:
    """What it has ended of; empty: nothing but the training's end."""
    try:
        from trainer.reporting.weights_and_biases.follower import Follower

        follower = Follower(order, lambda line: _tell(f"{SAYS} {line}"))
        while not over.wait(_LOOK_SECONDS):
            follower.look()
        follower.finish()
    except UserError as error:
        return str(error)
    except Exception as error:
        return described(error)
    return ""


def _watch(over: threading.Event) -> None:
    """Notes the training's end, and ends this process some time after it."""
    sys.stdin.buffer.read()
    over.set()
    time.sleep(FINISH_SECONDS)
    _tell(f"{SAYS} not everything could be sent in {FINISH_SECONDS:.0f} s; wandb sync sends the rest")
    _tell(ENDS)
    os._exit(1)


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # the training is gone
        os.write(1, f"{' '.join(line.split())}\n".encode())


if __name__ == "__main__":
    main()
