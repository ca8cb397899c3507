"""What a user can ask of the trainer: one module per task.

A task is a module with ``run(request) -> int``, the exit code. Modules are imported when asked for, because most of
them bring Jittor in.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from trainer.feed.server import DataServer
from trainer.process.interrupt import Interrupt

TASKS = ("train", "propose", "evaluate", "calibrate", "detect", "describe", "export")

RESULTS_FILE = "results.json"  # what evaluate leaves in the work dir
CALIBRATION_FILE = "calibration.json"  # what calibrate leaves there


@dataclass(frozen=True)
class Request:
    """One task, asked for on the command line.

    Attributes:
        config: loaded and checked, with its overrides.
        work_dir: where results go.
        checkpoint: the file that ``--checkpoint`` names, or None.
        server: where batches come from; None for tasks that need none.
        interrupt: whether the user or the system wants an end.
        say: a line for the user.
        options: the whole command line.
    """

    config: Config
    work_dir: Path
    checkpoint: str | None
    server: DataServer | None
    interrupt: Interrupt
    say: Callable[[str], None]
    options: argparse.Namespace
