"""A page of a run while it runs: its steps, its curves as they grow, its log, the last batch.

    training, recipe ──► work dir: metrics.jsonl, state.json, log.txt, batch.json ◄── .batch_wanted
          │ starts             ▲ reads                                                      │ leaves
          └─ a listening socket ─► python -m trainer.reporting.live ──► a browser on this machine

The page is served by a process of its own, which ends with whoever started it. Nothing that a browser does can change a
number. Only the batch has to be drawn by the training itself (`trainer.training.onlooker`), while somebody looks at it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from shared import listening
from shared.errors import UserError

PORT = 8002


def add_argument(parser: argparse.ArgumentParser) -> None:
    """``--serve [PORT]``."""
    parser.add_argument(
        "--serve",
        type=int,
        nargs="?",
        const=PORT,
        metavar="PORT",
        help=f"show steps, curves, log and batches in a browser meanwhile (default: {PORT}; 0: any port that is free)",
    )


@contextlib.contextmanager
def served(work_dir: Path, port: int | None, say: Callable[[str], None]) -> Iterator[None]:
    """Serves the page of `work_dir` inside; None: does nothing.

    Raises:
        UserError: the port cannot be had, or a package is missing.
    """
    if port is None:
        yield
        return
    try:
        import starlette  # noqa: F401 - the process needs both
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"--serve needs {error.name}; pip install 'unidetector-jittor[trainer]'") from None
    try:
        found = listening.listener("127.0.0.1", port, None)
    except UserError as error:
        raise UserError(str(error).replace("--host 127.0.0.1 --port", "--serve")) from None
    with contextlib.closing(found) as listener:
        listener.listen()
        words = (str(listener.fileno()), str(work_dir), str(os.getpid()))
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, *words],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run
        )
        say(f"the run is shown at {listening.url(listener, '127.0.0.1', None)}")
        try:
            yield
        finally:
            process.kill()
            process.wait()
