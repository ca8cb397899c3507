"""``python -m data_server``: serves batches to trainers. It needs no config: each trainer brings its own.

python -m data_server --workers 4                           listen at this user's default address
python -m data_server --workers 4 --listen ipc:///tmp/feed  listen in a directory of your choice
python -m data_server --workers 4 --metrics 9464            tell Prometheus how the streams fare
python -m data_server scenes --out data/demo                make the demo data set
python -m data_server subset --annotations A --percent P    keep a random part of an annotation file's images
python -m data_server category-info --annotations A         count its categories
python -m data_server embed --names F --clip W --out E.npy  text embeddings of class names
python -m data_server names --names F --embeddings E.npy    say what the rows of text embeddings are called
python -m data_server check --config C                      whether a config's data are what training expects
python -m data_server proposals --file F --annotations A --out rp.pkl   proposals as upstream's list
python -m data_server replay --config C --step K            make a batch again, to see what a step was fed
python -m data_server doctor                                whether this machine has what a data server needs
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from shared.errors import UserError
from shared.lifetime import STOP_SIGNALS, die_with_parent
from shared.link import Address, default_address

if TYPE_CHECKING:
    from data_server.serving.prometheus import Exporter


COMMANDS = ("scenes", "subset", "category-info", "embed", "names", "check", "proposals", "replay", "doctor")


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and arguments[0] in COMMANDS:
            with contextlib.redirect_stdout(None):  # what MMDetection prints when it is imported
                command = importlib.import_module(f"data_server.commands.{arguments[0].replace('-', '_')}")
            return command.main(arguments[1:]) or 0
        serve(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def serve(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data_server", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=_positive, default=2, help="worker processes of each stream (default 2)")
    parser.add_argument(
        "--listen", default=default_address(), metavar="ipc:///DIR", help="address to serve (default: %(default)s)"
    )
    parser.add_argument(
        "--metrics",
        type=_host_and_port,
        metavar="[HOST:]PORT",
        help="serve metrics for Prometheus there (default 0: off; HOST is 127.0.0.1 unless named)",
    )
    # The trainer that started us, and whom to die with.
    parser.add_argument("--embedded-in", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    address = Address(options.listen)
    _hide_gpus()
    _end_at_once_on_signals(address)
    if options.embedded_in:
        die_with_parent(options.embedded_in, signal.SIGTERM)
    from data_server.serving.server import DataServer

    exporter = _exporter(*options.metrics) if options.metrics else None
    DataServer(address, options.workers, quiet=bool(options.embedded_in), exporter=exporter).run()


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
        raise UserError(f"--metrics needs {error.name}; pip install prometheus-client") from None
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
