"""``python -m trainer``: trains and evaluates UniDetector in Jittor.

python -m trainer --config configs/demo/cln.py                   train; a data server is started along with it
python -m trainer --config C --resume                            continue where the last run of this config stopped
python -m trainer evaluate --config C --checkpoint F             do one of the tasks below
python -m trainer --recipe configs/demo/open_world.py            do several that build on each other
python -m trainer --config C --data-server ipc:///tmp/feed       join a running data server
python -m trainer --config C --cfg-options data_root=/data/mine  train on your own COCO-format data
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from mmengine.config import Config

from shared.arena import SlotCorrupted
from shared.client import StreamFailed
from shared.command_line import FAILED, GOOD, USER_ERROR, warn_of_encoding
from shared.config import add_arguments, cudnn_benchmark, deterministic, half_precision, load_config
from shared.errors import UserError
from shared.feed_keys import help_text
from shared.keys import nearest
from shared.terminal import LOG, keep, write_line
from trainer import tasks
from trainer.feed.server import DataServerLost, connect
from trainer.process import out_of_memory, ranks
from trainer.process.interrupt import Interrupt
from trainer.process.out_of_memory import OutOfMemory
from trainer.process.ranks import RankFailed
from trainer.reporting import live
from trainer.tasks import Request
from trainer.training.log import LOG_FILE

PROGRAM = "python -m trainer"
DEFAULT_TASK = "train"


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line says; returns the exit code, one of `shared.command_line`'s or 130 after Ctrl-C."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    warn_of_encoding()
    try:
        return run(options)
    except (UserError, DataServerLost, StreamFailed, SlotCorrupted, OutOfMemory, RankFailed) as error:
        say(f"error: {error}")
        return USER_ERROR if isinstance(error, UserError) else FAILED
    except RuntimeError as error:
        if not (sign := out_of_memory.sign(error)):
            raise
        say(f"error: the device's memory is used up ({sign}); {out_of_memory.REMEDY}")
        return FAILED


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a task, whose name is in ``task``, or of a recipe, whose file is in ``recipe``. Ends the program
    over a mistake, or with the help that was asked for."""
    former = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    former.add_argument("--task")
    former.add_argument("--recipe")
    given, rest = former.parse_known_args(arguments)
    if given.task is not None and given.recipe is None:
        write_line(
            f"notice: --task {given.task} is now {PROGRAM} {given.task}; the old form will go with the next version"
        )
        arguments = [given.task, *rest]
    parsers = {name: _parser_of(name) for name in tasks.names()}
    if not arguments or arguments[0] in ("-h", "--help"):
        _overview(parsers[DEFAULT_TASK]).parse_args(arguments or ["--help"])
    if given.recipe is not None:
        parser = _recipe_parser()
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            parser.error(f"--recipe says what is done: {unknown[0]} goes with --config")
        return options
    task, *words = arguments if not arguments[0].startswith("-") else [DEFAULT_TASK, *arguments]
    if task not in parsers:
        write_line(f"error: no task {task!r}{nearest(task, list(parsers))}; {PROGRAM} --help lists them")
        sys.exit(USER_ERROR)
    options, unknown = parsers[task].parse_known_args(words)
    if unknown:
        parsers[task].error(_refusal(unknown[0], task, parsers))
    return options


def _overview(train: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """What ``--help`` shows: the tasks and, as a command line without one trains, the options of `train`."""
    lines = [f"  {name:12} {tasks.summary(name)}" for name in tasks.names()]
    return argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [TASK] --config CONFIG [options]\n       {PROGRAM} --recipe RECIPE [options]",
        description=__doc__,
        epilog="\n".join([f"tasks ({PROGRAM} TASK --help says more):", *lines, "", help_text()]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[train],
        add_help=False,
    )


def _parser_of(name: str) -> argparse.ArgumentParser:
    task = tasks.load(name)
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {name}",
        description=task.__doc__,
        epilog=help_text() if task.NEEDS_SERVER else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(task=name, recipe=None)
    if tasks.needs_config(name):
        add_arguments(parser)
        _add_work_dir(parser, "config")
    if hasattr(task, "add_arguments"):
        task.add_arguments(parser)
    if task.NEEDS_SERVER:
        _add_data_server(parser)
    return parser


def _recipe_parser() -> argparse.ArgumentParser:
    from trainer.recipe import command

    parser = argparse.ArgumentParser(prog=PROGRAM, description=command.__doc__)
    add_arguments(parser, recipe=True)
    _add_work_dir(parser, "recipe")
    _add_data_server(parser)
    live.add_argument(parser)
    return parser


def _add_work_dir(parser: argparse.ArgumentParser, of: str) -> None:
    parser.add_argument("--work-dir", type=Path, help=f"where results go (default: work_dirs/<{of}'s name>)")


def _add_data_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-server", metavar="embedded|ipc:///DIR", help="default: this user's running data server, else embedded"
    )
    parser.add_argument(
        "--workers", type=int, help="worker processes of an embedded data server (default: cores, at most 4)"
    )
    parser.add_argument(
        "--ray", metavar="auto|HOST:PORT", help="a Ray cluster whose nodes give an embedded data server more workers"
    )


def _refusal(word: str, task: str, parsers: dict[str, argparse.ArgumentParser]) -> str:
    """Why `task` does not take a word: no task does, or others do."""
    option = word.partition("=")[0]
    takers = [name for name, parser in parsers.items() if option in re.findall(r"--[\w-]+", parser.format_usage())]
    if not takers:
        return f"unrecognized argument {word}"
    return f"{option} goes with {' and '.join(takers)}, not with {task}"


def run(options: argparse.Namespace) -> int:
    """Runs the task or the recipe; returns the exit code."""
    interrupt = Interrupt()
    if ranks.expected() > 1 and (options.recipe is not None or not tasks.together(options.task)):
        what = "a recipe" if options.recipe is not None else options.task
        raise UserError(f"{what} is done by one process, not by several ranks: start it without mpirun")
    if options.recipe is not None:
        from trainer.recipe import command  # only here: the pages of a report take a quarter of a second to import

        return command.run(options, interrupt, say)
    task = tasks.load(options.task)
    if tasks.together(options.task):
        return _run_together(options, interrupt)
    if not tasks.needs_config(options.task):
        return task.run(Request(Config(), Path(), None, interrupt, say, options))
    config = load_config(options.config, options.cfg_options)
    request = Request(config, _work_dir(options, config), None, interrupt, say, options)
    if not task.NEEDS_SERVER:
        _import_jittor(interrupt, config)
        return task.run(request)
    with connect(options.data_server, options.workers, say, ray=options.ray) as server:
        say(_import_jittor(interrupt, config))  # while the data server starts up
        return task.run(replace(request, server_handle=server))


def _run_together(options: argparse.Namespace, interrupt: Interrupt) -> int:
    """Runs a task that several ranks can do together, and that needs a data server."""
    together = ranks.join()
    task, config = tasks.load(options.task), load_config(options.config, options.cfg_options)
    work_dir = _work_dir(options, config)
    if options.serve is not None:
        os.environ[LOG] = str((work_dir / LOG_FILE).absolute())
    say_once = say if together.first else lambda _: None
    with connect(options.data_server, options.workers, say, together, options.ray) as server:
        say_once(_import_jittor(interrupt, config))
        code = task.run(Request(config, work_dir, server, interrupt, say, options, together))
        together.meet()  # the first rank of a host has the data server
    if code == GOOD:
        together.finish()
    return code


def _work_dir(options: argparse.Namespace, config: Config) -> Path:
    return options.work_dir or Path(config.get("work_dir") or Path("work_dirs") / Path(options.config).stem)


def _import_jittor(interrupt: Interrupt, config: Config) -> str:
    """Returns a line about it, and about what becomes of wishes of `config` that are not met. Raises UserError where it
    asks for what the device cannot do."""
    from trainer.device import describe, precision_of
    from trainer.device.in_order import begin
    from trainer.device.mode import Mode

    interrupt.end_at_once()  # importing Jittor has changed the handlers
    begin(Mode.of(config))
    said = describe()
    asked = half_precision(config)
    types = {key: precision_of(dtype) for key, dtype in asked.items()}
    if types == asked:
        for key, dtype in types.items():
            said += f"; {'trains' if key == 'optim_wrapper' else 'evaluates'} in {dtype} ({key})"
    else:
        said += f"; all is in float32, which the half precision of {', '.join(asked)} approximates"
    overruled = deterministic(config) and cudnn_benchmark(config)
    return said + ("; randomness.deterministic overrules cudnn_benchmark" if overruled else "")


def say(text: str) -> None:
    """A line for the user, apart from results, which go to standard output. Ranks other than 0 sign theirs."""
    rank = f" rank {ranks.number()}" if ranks.number() else ""
    write_line(f"[trainer{rank} {time.strftime('%H:%M:%S')}] {text}")


def leave(code: int) -> NoReturn:
    """Ends the process without Jittor's exit handler.

    That handler waits for ever if Jittor's compiler processes have been killed, as Ctrl-C and systemd do. They are
    forked by this process and end with it (`trainer.device`).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _program() -> NoReturn:
    """Of several ranks, one that ends by an exception leaves at once: the others wait for it, and mpirun ends them."""
    try:
        leave(main())
    except Exception:
        if ranks.expected() == 1:
            keep(traceback.format_exc())
            raise
        traceback.print_exc()
        leave(FAILED)


if __name__ == "__main__":
    _program()
