"""``python -m data_server``: serves batches to trainers. It needs no config: each trainer brings its own.

python -m data_server --workers 4                           listen at this user's default address
python -m data_server --workers 4 --listen ipc:///tmp/feed  listen in a directory of your choice
python -m data_server scenes --out data/demo                make the demo data set
python -m data_server replay --config C --step K            make a batch again, to see what a step was fed
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from data_server.lifetime import die_with_parent
from data_server.server import DataServer
from shared.errors import UserError
from shared.link import Address, default_address


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["scenes"]:
            from data_server import scenes

            scenes.main(arguments[1:])
        elif arguments[:1] == ["replay"]:
            from data_server import replay

            replay.main(arguments[1:])
        else:
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
    # The trainer that started us, and whom to die with.
    parser.add_argument("--embedded-in", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    _hide_gpus()
    if options.embedded_in:
        die_with_parent(options.embedded_in, signal.SIGTERM)
    DataServer(Address(options.listen), options.workers, quiet=bool(options.embedded_in)).run()


def _hide_gpus() -> None:
    """Only the trainer touches a GPU. Starts over where one is visible, so that even /proc shows that none is."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "CUDA_VISIBLE_DEVICES": ""})


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
