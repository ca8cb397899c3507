"""Serves a web page and an HTTP interface that find what you name in your pictures. Needs no data server.

    browser, program ── HTTP ──► gate ─► app ─► uploads, words ── queue ──► engine ─► Detector, in the main thread
                                                     └─ words that nobody has embedded ─► encoder ─► CLIP

HTTP has a thread of its own, Jittor keeps the main one. SIGTERM and Ctrl-C close the door, answer what was asked
before, and end. Without --token only this machine can reach it.

    __init__    the command                        engine      the queue, and the thread that detects
    app         the paths                          words       vocabularies and typed names
    gate        tokens, rates, sizes               encoder     CLIP, in a process of the data server's
    uploads     what a request asks                meters      for Prometheus
    openapi     the interface, described           opening     detector and vocabularies, of the command line
    report      a recipe's report, beside the page page/       one template, one script, one style sheet
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from pathlib import Path

from shared import listening
from shared.command_line import FAILED, GOOD
from shared.errors import UserError
from trainer.tasks import Request, add_checkpoint

NEEDS_SERVER = False

PORT = 8000
RATE = 600
_START_SECONDS = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument(
        "--vocabulary",
        nargs="+",
        default=[],
        metavar="F.npy",
        help="text embeddings to choose from, with their names in F.names.json (default: the config's)",
    )
    parser.add_argument(
        "--embeddings",
        nargs="+",
        default=[],
        metavar="F.npy",
        help="more text embeddings in which typed names are looked up (default: those of --vocabulary)",
    )
    parser.add_argument(
        "--clip", type=Path, metavar="WEIGHTS", help="CLIP's weights, such as RN50.pt: it embeds all other names"
    )
    parser.add_argument(
        "--proposals-from", nargs=2, metavar=("CONFIG", "CHECKPOINT"), help="the stage 1 that a stage 2 gets boxes from"
    )
    parser.add_argument("--report", type=Path, metavar="F.html", help="a recipe's report: the page has a link to it")
    listening.add_arguments(parser, PORT)
    parser.add_argument(
        "--rate",
        type=int,
        default=RATE,
        metavar="N",
        help="pictures a minute from one address, 0: any number (default: %(default)s)",
    )


def run(request: Request) -> int:
    """Serves until a signal comes; returns the exit code.

    Raises:
        UserError: a package is missing, the address cannot be listened at or needs a token; see `trainer.api.Detector`.
    """
    try:
        import python_multipart  # noqa: F401 - Starlette imports it where a form comes
        import uvicorn  # noqa: F401 - as shared.web does

        from shared import web
        from trainer.tasks.serve.app import application
        from trainer.tasks.serve.engine import Engine
        from trainer.tasks.serve.meters import Meters
        from trainer.tasks.serve.opening import opened
        from trainer.tasks.serve.report import Report
    except ModuleNotFoundError as error:
        raise UserError(f"serve needs {error.name}; pip install 'unidetector-jittor[trainer]'") from None
    from trainer.weights import checkpoint

    options, say = request.options, request.say
    if options.rate < 0:
        raise UserError(f"--rate {options.rate}: expected a number of pictures a minute, or 0 for any")
    listener = listening.listener(options.host, options.port, options.token)
    report = Report(options.report, options.token) if options.report else None
    weights = checkpoint.chosen(options.checkpoint, request.work_dir, "serve")
    meters = Meters()
    detector, dictionary = opened(request.config, weights, options, say)
    engine = Engine(detector, {"config": request.config.filename, "checkpoint": str(weights)}, meters, say)
    say("loading kernels; on a new machine they are compiled, which takes minutes")
    engine.warm_up()
    local = listening.is_local(listener)
    served = application(engine, dictionary, meters, options.token, options.rate, local, detector.turns, report)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    server = web.server(served)
    http = threading.Thread(target=server.run, args=([listener],), name="http", daemon=True)
    interrupt = request.interrupt
    with interrupt.deferred():
        http.start()
        while not server.started and http.is_alive():
            time.sleep(_START_SECONDS)
        if not server.started:
            return FAILED
        say(f"serving {listening.url(listener, options.host, options.token)}  (Ctrl-C ends it)")
        engine.run(lambda: interrupt.signal is None and http.is_alive())
        say("ending: what was asked is answered, nothing more is taken")
        server.should_exit = True
        engine.run(http.is_alive)
    if dictionary.encoder is not None:
        dictionary.encoder.close()
    return 128 + signal.SIGINT if interrupt.signal is signal.SIGINT else GOOD
