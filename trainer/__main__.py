"""``python -m trainer``: trains and evaluates UniDetector in Jittor.

python -m trainer --config configs/demo/cln.py                          train; a data server is started along with it
python -m trainer --config C --resume                                   go on where the last run of this config stopped
python -m trainer --config C --task evaluate --checkpoint F             metrics of a checkpoint
python -m trainer --config C --task describe                            the model as a table; needs no data
python -m trainer --config C --task export --checkpoint F --out X.pth   the weights for PyTorch and MMDetection
python -m trainer --config C --task detect --checkpoint F --images photos/ --names cat "red star" --draw
python -m trainer --recipe configs/demo/open_world.py                   several tasks that build on each other
python -m trainer --config C --data-server ipc:///tmp/feed              join a running data server
python -m trainer --config C --cfg-options data_root=/data/mine         train on your own COCO-format data
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from shared.arena import SlotCorrupted
from shared.client import StreamFailed
from shared.config import add_arguments, load_config
from shared.errors import UserError
from shared.feed_keys import help_text
from trainer.feed.server import DataServer, DataServerLost
from trainer.process.interrupt import Interrupt
from trainer.recipe import command as recipe
from trainer.tasks import TASKS, Request

# Known here and not asked of the module, whose import would bring Jittor in before the data server is started.
WITHOUT_DATA_SERVER = ("detect", "describe", "export")
_NOT_WITH_RECIPE = ("task", "resume", "checkpoint")
# Options that mean something to some tasks only, and to no recipe: its steps have arguments of their own.
_TASKS_OF = {
    "out": ("export", "detect"),
    "chance": ("evaluate",),
    "draw": ("evaluate", "propose", "detect"),
    "score_threshold": ("evaluate", "propose", "detect"),
    **dict.fromkeys(("images", "vocabulary", "names", "embeddings", "proposals_from"), ("detect",)),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description=__doc__,
        epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser, recipe=True)
    parser.add_argument("--task", choices=TASKS, help="default: train")
    parser.add_argument("--work-dir", type=Path, help="where results go (default: work_dirs/<config's name>)")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the work dir's latest checkpoint, or --checkpoint"
    )
    parser.add_argument("--checkpoint", help="weights to start from, to evaluate or to export")
    parser.add_argument("--out", type=Path, help="the .pth file of --task export, the .json file of --task detect")
    parser.add_argument(
        "--chance", action="store_true", help="--task evaluate also with the names' embeddings shuffled"
    )
    parser.add_argument(
        "--data-server", metavar="embedded|ipc:///DIR", help="default: this user's running data server, else embedded"
    )
    parser.add_argument(
        "--workers", type=int, help="worker processes of an embedded data server (default: cores, at most 4)"
    )
    parser.add_argument(
        "--draw",
        action="store_true",
        help="--task evaluate, propose and detect also write images with what was found in them",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="S",
        help="draw no detection below S (default: 0.3); --task detect does not write those either (default: all)",
    )
    add_detect_arguments(parser)
    options = parser.parse_args()
    _check(options, parser)
    try:
        return run(options)
    except (UserError, DataServerLost, StreamFailed, SlotCorrupted) as error:
        say(f"error: {error}")
        return 2 if isinstance(error, UserError) else 1


def _check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends the program over an option that goes with another task than the one asked for; sets the default task."""
    restricted = [name for name in _TASKS_OF if getattr(options, name) not in (None, False, [])]
    if options.recipe is not None:
        given = [name for name in _NOT_WITH_RECIPE if getattr(options, name)] + restricted
        if given:
            parser.error(f"--recipe says what is done: {_flag(given[0])} goes with --config")
    options.task = options.task or "train"
    for name in restricted:
        if options.recipe is None and options.task not in _TASKS_OF[name]:
            tasks = " and ".join(_TASKS_OF[name])
            parser.error(f"{_flag(name)} goes with --task {tasks}, not with {options.task}")
    if options.task == "export" and options.out is None:
        parser.error("--task export needs --out FILE")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def add_detect_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``--task detect`` is asked; `trainer.tasks.detect` and `trainer.api` say more."""
    group = parser.add_argument_group("--task detect")
    group.add_argument(
        "--images", nargs="+", default=[], metavar="PATH", help="files, folders, patterns such as '*.jpg'"
    )
    group.add_argument(
        "--vocabulary", nargs="+", default=[], metavar="F.npy", help="text embeddings, with their names in F.names.json"
    )
    group.add_argument("--names", nargs="+", default=[], metavar="NAME", help="single names, instead or in addition")
    group.add_argument(
        "--embeddings",
        nargs="+",
        default=[],
        metavar="F.npy",
        help="where --names are looked up (default: the config's)",
    )
    group.add_argument(
        "--proposals-from", nargs=2, metavar=("CONFIG", "CHECKPOINT"), help="the stage 1 that a stage 2 gets boxes from"
    )


def run(options: argparse.Namespace) -> int:
    """Runs the task; returns the exit code."""
    interrupt = Interrupt()
    if options.recipe is not None:
        return recipe.run(options, interrupt, say)
    config = load_config(options.config, options.cfg_options)
    work_dir = options.work_dir or Path(config.get("work_dir") or Path("work_dirs") / Path(options.config).stem)
    request = Request(config, work_dir, options.checkpoint, None, interrupt, say, options)
    if options.task in WITHOUT_DATA_SERVER:
        task = _task(options.task)
        interrupt.end_at_once()  # a task that has imported Jittor has changed the handlers
        return task.run(request)
    with DataServer(options.data_server, options.workers, say) as server:
        from trainer.device import describe  # Jittor comes in here, while the data server starts up

        interrupt.end_at_once()  # importing Jittor has changed the handlers
        say(describe())
        return _task(options.task).run(replace(request, server=server))


def _task(name: str) -> ModuleType:
    return importlib.import_module(f"trainer.tasks.{name}")


def say(text: str) -> None:
    """A line for the user, apart from results, which go to standard output."""
    print(f"[trainer {time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def leave(code: int) -> NoReturn:
    """Ends the process without Jittor's exit handler.

    That one waits for ever when Jittor's compiler processes were killed before, as Ctrl-C and systemd do. They are
    forked by this process and end with it (`trainer.device`).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
