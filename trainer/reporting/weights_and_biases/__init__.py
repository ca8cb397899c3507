"""A training's numbers and pictures for Weights & Biases, where a config's ``vis_backends`` ask for it.

    training ──► work dir: tensorboard/ ◄── reads ── python -m trainer.reporting.weights_and_biases ──► W&B's service
        │ starts, and says its lines ◄───────────────────────┘ keeps WANDB_FILE: the run, and how far it has read

W&B has what TensorBoard has, because it is read from there. The package ``wandb`` is imported by a process of its own
alone: whatever it does or fails to do, the training neither waits for it nor ends with it.

    follows ──► the training has ended, or is gone ──► what is left is sent, for `FINISH_SECONDS` at most ──► ends

A training that ends by itself waits for that; one that is interrupted does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from shared.vis_backends import wandb_backend
from trainer.process.background import in_background
from trainer.process.interrupt import Interrupt
from trainer.training import events

WANDB_FILE = "wandb.json"
FINISH_SECONDS = 60.0
SAYS, ENDS = "says", "ends"  # how the lines of the process begin; the last one goes on with a failure, if there was one
_GRACE_SECONDS = 5.0


@contextlib.contextmanager
def followed(
    config: Config, work_dir: Path, resumed: bool, interrupt: Interrupt, say: Callable[[str], None]
) -> Iterator[None]:
    """Has W&B follow the training inside, where the config asks for it.

    Args:
        resumed: whether the run of the work dir goes on; else what its older events say is another run's.

    Raises:
        UserError: the package ``wandb`` is not installed.
    """
    if (backend := wandb_backend(config)) is None:
        yield
        return
    older = None if resumed else {one.name: one.stat().st_size for one in (work_dir / events.FOLDER).glob("*")}
    order = {
        "work_dir": str(work_dir),
        "older": older,
        "trainer": os.getpid(),
        "backend": backend,
        "config": config.to_dict(),
    }
    try:
        process = _started(order)
    except OSError as error:
        say(f"warning: Weights & Biases: {error.strerror}; the training goes on without it")
        yield
        return
    assert process.stdin is not None
    heard = in_background(lambda: _hear(process, say))
    try:
        yield
        if interrupt.signal is None:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                heard.result(FINISH_SECONDS + _GRACE_SECONDS)
    finally:
        process.stdin.close()


def _started(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    with open(os.memfd_create("order"), "w+b") as file:  # unlike a pipe, it keeps nobody waiting
        file.write(json.dumps(order, default=str).encode())
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(file.fileno())],
            pass_fds=[file.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # W&B's chat
            start_new_session=True,  # Ctrl-C is for the run
        )


def _hear(process: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
    """Says the lines of the process until its end, and in one more why it has ended before the training."""
    assert process.stdout is not None
    process.wait()  # for the parent alone: what follows the training is its child
    why = "its process was killed"
    for line in process.stdout:
        kind, _, text = line.decode(errors="replace").strip().partition(" ")
        if kind == SAYS:
            say(f"Weights & Biases: {text}")
        else:
            why = text
    if why:
        say(f"warning: Weights & Biases: {why}; the training goes on without it")
