"""Shows the data sets of a config in a browser: images and boxes, as their files are and as the trainer gets them.

    python -m data_server browse --config C

    browser ── HTTP ──► app ──► splits ──► catalogue ──► columns of the index, mapped     what is where, filters
                                              ├────────► numbers, alike                   histograms, near names
                                              └────────► pictures ──► the pipeline        files, samples, batches

Nothing is written but the index. Without --token only this machine can reach it.
"""

from __future__ import annotations

import argparse
import contextlib
import signal

from shared import listening
from shared.command_line import GOOD
from shared.config import add_arguments, load_config
from shared.errors import UserError
from shared.terminal import write_line

PORT = 8001


def main(arguments: list[str]) -> int:
    """Serves until a signal comes; returns the exit code.

    Raises:
        UserError: a package is missing, the address cannot be listened at, or a data set cannot be built.
    """
    parser = argparse.ArgumentParser(
        prog="python -m data_server browse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    listening.add_arguments(parser, PORT)
    options = parser.parse_args(arguments)
    try:
        with contextlib.redirect_stdout(None):  # what MMDetection prints when it is imported
            from data_server.commands.browse.app import application
            from data_server.commands.browse.splits import Splits
        from shared import web
    except ModuleNotFoundError as error:
        raise UserError(f"browse needs {error.name}; pip install 'unidetector-jittor[data-server]'") from None
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
