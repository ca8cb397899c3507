"""What a user can ask of the trainer: one file a task, found by being here. ``my_task.py`` is ``my-task``, and so is a
folder ``my_task/``, where a task takes more than a file.

    __doc__                   its first sentence is the task's line in ``--help``
    NEEDS_SERVER: bool        whether a data server has to be there, see `Request.server`
    TOGETHER = True           where several ranks can do it together
    NEEDS_CONFIG = False      where it is for the machine: it has no --config, and Jittor is not imported before it runs
    add_arguments(parser)     options of its own; a task without any has none
    run(request) -> int       does it; returns an exit code of `shared.command_line`, or raises UserError

Every task's file is imported to read the command line, before the data server is started and Jittor, which has to come
after that. So it imports at its top nothing that needs Jittor; `run` imports the rest.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mmengine.config import Config

from shared import modules
from trainer.feed.server import ServerHandle
from trainer.process.interrupt import Interrupt
from trainer.process.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Request:
    """One task, asked for on the command line.

    Attributes:
        config: loaded and checked, with its overrides; empty for a task without one.
        work_dir: where results go.
        server_handle: of the data server, for a task that needs one.
        interrupt: whether the user or the system wants an end.
        say: a line for the user.
        options: the whole command line.
        ranks: who does the task together; a task for which `TOGETHER` is not set is never asked for by several.
    """

    config: Config
    work_dir: Path
    server_handle: ServerHandle | None
    interrupt: Interrupt
    say: Callable[[str], None]
    options: argparse.Namespace
    ranks: Ranks = ALONE

    @property
    def server(self) -> ServerHandle:
        """Where batches come from. Only for a task with NEEDS_SERVER."""
        assert self.server_handle is not None, "the task does not say that it needs a data server"
        return self.server_handle


def names() -> list[str]:
    """All tasks, as they are called on the command line."""
    return [name.replace("_", "-") for name in modules.names(sys.modules[__name__])]


def summary(name: str) -> str:
    """A task's line in ``--help``."""
    return modules.summary(sys.modules[__name__], name.replace("-", "_")).replace("``", "")


def load(name: str) -> ModuleType:
    """The file of a task."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def together(name: str) -> bool:
    """Whether several ranks can do a task together."""
    return getattr(load(name), "TOGETHER", False)


def needs_config(name: str) -> bool:
    """Whether a task is for a config."""
    return getattr(load(name), "NEEDS_CONFIG", True)


def add_checkpoint(parser: argparse.ArgumentParser, what: str = "the weights (default: the work dir's latest)") -> None:
    """``--checkpoint``, which `trainer.weights.checkpoint.chosen` reads."""
    parser.add_argument("--checkpoint", metavar="FILE", help=what)


def add_drawing(parser: argparse.ArgumentParser, also: str = "") -> None:
    """``--draw`` and ``--score-threshold``, which `trainer.reporting.picture_folder.Pictures` follows.

    Args:
        also: what the threshold means beside, for its help text.
    """
    parser.add_argument("--draw", action="store_true", help="also write images with what was found in them")
    parser.add_argument(
        "--score-threshold", type=float, metavar="S", help=f"draw no detection below S (default: 0.3){also}"
    )
