"""Shows the data sets of a config in a browser: images and boxes, as their files are and as the trainer gets them.

    python -m data_server browse --config C
    python -m data_server browse --config C --html FILE     the page with some samples, as one file

    browser ── HTTP ──► app ──► splits ──► catalogue ──► columns of the index, mapped     what is where, filters
                                              ├────────► numbers, alike                   histograms, near names
                                              └────────► pictures ──► the pipeline        files, samples, batches
    FILE ◄── single_file ◄── the same

Nothing else is written but the index. Without --token only this machine can reach the page.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from shared import files, listening
from shared.command_line import GOOD
from shared.config import add_arguments, load_config
from shared.errors import UserError
from shared.terminal import show, write_line

PORT = 8001
SAMPLES, MOST_SAMPLES = 48, 1000  # of a split, in a file
_ANOTHER = "free some space, or choose another --html"


def main(arguments: list[str]) -> int:
    """Serves until a signal comes, or writes the file; returns the exit code.

    Raises:
        UserError: a package is missing, the address cannot be listened at, the file cannot be written, or the first
            split's data sets cannot be built.
    """
    parser = argparse.ArgumentParser(
        prog="python -m data_server browse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    listening.add_arguments(parser, PORT)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page as one file, and serve nothing")
    parser.add_argument(
        "--samples", type=_samples, metavar="N", help=f"images of each split in that file (default: {SAMPLES})"
    )
    options = parser.parse_args(arguments)
    if options.html is None and options.samples is not None:
        raise UserError("--samples: only the file of --html has a number of them; give --html FILE as well")
    for name in ("host", "port", "token") if options.html is not None else ():
        if getattr(options, name) != parser.get_default(name):
            raise UserError(f"--{name}: with --html nothing is served; leave one of them out")
    try:
        from data_server.datasets.lazy_imports import import_mmdetection

        import_mmdetection()
        from data_server.commands.browse.app import application
        from data_server.commands.browse.single_file import held, page
        from data_server.commands.browse.splits import Splits
        from shared import web
    except ModuleNotFoundError as error:
        raise UserError(f"browse needs {error.name}; pip install 'unidetector-jittor[data-server]'") from None
    if options.html is not None:
        files.expect(options.html, _ANOTHER)
        splits = Splits(load_config(options.config, options.cfg_options), write_line)
        splits.opened(splits.names[0])
        content = page(held(splits, options.samples or SAMPLES, write_line))
        files.save(options.html, content, _ANOTHER)
        show(f"{options.html}: {len(content) / 1e6:,.1f} MB; open it in a browser")
        return GOOD
    listener = listening.listener(options.host, options.port, options.token)
    splits = Splits(load_config(options.config, options.cfg_options), write_line)
    splits.opened(splits.names[0])
    server = web.server(application(splits, options.token, listening.is_local(listener)))
    listener.listen()
    write_line(f"browsing at {listening.url(listener, options.host, options.token)}  (Ctrl-C ends it)")
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises again what it has ended by
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return GOOD


def _samples(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MOST_SAMPLES):
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MOST_SAMPLES}")
    return int(text)
