"""``python -m data_server``: serves batches to trainers. It needs no config: each trainer brings its own.

python -m data_server --workers 4                           listen at this user's default address
python -m data_server --workers 4 --listen ipc:///tmp/feed  listen in a directory of your choice
python -m data_server --workers 4 --prometheus 9464         tell Prometheus how the streams fare
python -m data_server --workers 4 --ray auto                have workers on the hosts of a Ray cluster, too
python -m data_server COMMAND ...                           do one of the things below
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from data_server import commands
from data_server.machine.cut_short import end_with_a_line
from shared import modules
from shared.address import Address, default_address
from shared.command_line import GOOD, USER_ERROR, add_renamed, warn_of_encoding
from shared.errors import UserError
from shared.keys import unknown
from shared.lifetime import STOP_SIGNALS, die_with_parent
from shared.terminal import write_line

if TYPE_CHECKING:
    from data_server.serving.nodes import Nodes
    from data_server.serving.prometheus import Exporter


PROGRAM = "python -m data_server"


def main(arguments: list[str] | None = None) -> int:
    """Runs a command, or serves; returns the exit code, one of those of `shared.command_line`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and not arguments[0].startswith("-"):
            warn_of_encoding()
            end_with_a_line(lambda text: write_line(f"error: {text}"), USER_ERROR)
            return _command(arguments[0]).main(arguments[1:]) or GOOD
        serve(arguments)
    except UserError as error:
        write_line(f"error: {error}")
        return USER_ERROR
    return GOOD


def _command(word: str) -> ModuleType:
    """The module of a command."""
    known = {name.replace("_", "-"): name for name in modules.names(commands)}
    if word not in known:
        raise unknown(PROGRAM, "command", word, known)
    with contextlib.redirect_stdout(None):  # what MMDetection prints when it is imported
        return importlib.import_module(f"{commands.__name__}.{known[word]}")


def _commands_for_help() -> str:
    lines = [
        f"  {name.replace('_', '-'):15} {modules.summary(commands, name).replace('``', '')}"
        for name in modules.names(commands)
    ]
    return "\n".join([f"commands ({PROGRAM} COMMAND --help says more):", *lines])


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a server. Ends the program over a mistake, or with the help that was asked for."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        epilog=_commands_for_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", type=_positive, default=2, help="worker processes of each stream (default 2)")
    parser.add_argument(
        "--listen", default=default_address(), metavar="ipc:///DIR", help="address to serve (default: %(default)s)"
    )
    prometheus = parser.add_argument(
        "--prometheus",
        type=_host_and_port,
        metavar="[HOST:]PORT",
        help="serve metrics for Prometheus there (default 0: off; HOST is 127.0.0.1 unless named)",
    )
    add_renamed(parser, "--metrics", prometheus)
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="have far workers on the nodes of the Ray cluster at HOST:PORT, or of this host's ('auto')",
    )
    parser.add_argument(
        "--far-workers", type=_positive, default=64, metavar="N", help="at most so many for each stream (default 64)"
    )
    parser.add_argument(
        "--far-workers-per-node",
        type=_positive,
        metavar="N",
        help="so many on each node (default: as many as Ray counts processors there)",
    )
    parser.add_argument(
        "--elastic",
        action="store_true",
        help="have far workers only while trainers wait for data: ask a cluster that can grow for nodes, and give them "
        "back",
    )
    # The trainer that started us, and whom to die with.
    parser.add_argument("--embedded-in", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def serve(arguments: list[str]) -> None:
    _hide_gpus()
    options = parse(arguments)
    address = Address(options.listen)
    _end_at_once_on_signals(address)
    if options.embedded_in:
        die_with_parent(options.embedded_in, signal.SIGTERM)
    else:
        warn_of_encoding()
    from data_server.serving.server import DataServer

    exporter = _exporter(*options.prometheus) if options.prometheus else None
    nodes = _nodes(options)
    DataServer(address, options.workers, quiet=bool(options.embedded_in), exporter=exporter, nodes=nodes).run()


def _nodes(options: argparse.Namespace) -> Nodes | None:
    if options.ray is None:
        if options.elastic:
            raise UserError("--elastic is for far workers; expected --ray, too")
        return None
    from data_server.serving.nodes import Nodes

    return Nodes(options.ray, options.far_workers, options.far_workers_per_node or 0, options.elastic)


def _hide_gpus() -> None:
    """Only the trainer touches a GPU. Starts over where one is visible, so that even /proc shows that none is."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until we are here again
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "CUDA_VISIBLE_DEVICES": ""})


def _end_at_once_on_signals(address: Address) -> None:
    """Before there is a server to be ended in order: nothing needs to be left but what an embedding trainer made."""

    def end(*_: object) -> None:
        with contextlib.suppress(OSError):
            address.directory.rmdir()
        os._exit(0)

    for number in STOP_SIGNALS:
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _exporter(host: str, port: int) -> Exporter:
    try:
        from data_server.serving.prometheus import Exporter
    except ModuleNotFoundError as error:
        raise UserError(f"--prometheus needs {error.name}; pip install prometheus-client") from None
    return Exporter(host, port)


def _host_and_port(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) >= 1 << 16:
        raise argparse.ArgumentTypeError(f"expected [HOST:]PORT with a port below {1 << 16}, or 0 for none")
    return (host or "127.0.0.1", int(port)) if int(port) else None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
