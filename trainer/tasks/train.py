"""Trains and evaluates a detector; with --resume, or resume=True in the config, continues an earlier run.

`trainer.training.loop` is the loop. A run that is interrupted writes a checkpoint; ``--resume`` continues with the
very next batch.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from pathlib import Path

from shared.command_line import GOOD
from shared.files import save
from shared.terminal import show
from shared.vis_backends import wandb_backend
from trainer.process.work_dir import occupy
from trainer.reporting import live
from trainer.reporting.weights_and_biases import followed
from trainer.tasks import Request, add_checkpoint

NEEDS_SERVER = True
TOGETHER = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser, "weights to start from; with --resume, the checkpoint to continue from")
    parser.add_argument("--resume", action="store_true", help="continue from the work dir's latest checkpoint")
    live.add_argument(parser)


def run(request: Request) -> int:
    """Trains; prints the metrics of the end as a table, draws the curves of losses and metrics.

    Raises:
        UserError: of config, weights or data; the work dir is in use; a package is missing that the config asks for.
        DataServerLost: the data server is gone; a checkpoint has been written.
    """
    wandb_backend(request.config)  # what cannot be had is said before anything is built
    from trainer.evaluation import results
    from trainer.evaluation.evaluate import Evaluation
    from trainer.reporting import curves
    from trainer.training.loop import TrainingLoop

    config, work_dir, say, ranks = request.config, request.work_dir, request.say, request.ranks
    resume_from = _resume_from(request)
    if request.options.checkpoint and resume_from is None:
        config.load_from = request.options.checkpoint
    evaluation = Evaluation(config, request.server, work_dir, say, ranks=ranks)
    loop = TrainingLoop(config, request.server, work_dir, say, resume_from, evaluation.begin, ranks)
    if ranks.first:
        occupy(work_dir)  # not before the config has turned out valid: a mistake leaves nothing behind
        save(Path(loop.config_file), loop.config_text.encode())
    with contextlib.ExitStack() as beside:
        if ranks.first:
            beside.enter_context(live.served(work_dir, request.options.serve, say))
            beside.enter_context(followed(config, work_dir, resume_from is not None, request.interrupt, say))
        metrics = loop.run(request.interrupt)
    if ranks.first:
        curves.draw(work_dir)
    if metrics is not None:
        show(results.as_table(metrics))
    return 128 + signal.SIGINT if request.interrupt.signal is signal.SIGINT else GOOD


def _resume_from(request: Request) -> Path | None:
    """The checkpoint to go on from, as rank 0 has found it; None: the run starts at the beginning."""
    found = _found(request) if request.ranks.first else None
    path = os.fsdecode(request.ranks.share(os.fsencode(found or "")))
    return Path(path) if path else None


def _found(request: Request) -> Path | None:
    from trainer.weights import checkpoint

    options, config = request.options, request.config
    if not (options.resume or config.get("resume")):
        return None
    # with the option, load_from is where the run began
    chosen = options.checkpoint or (None if options.resume else config.get("load_from"))
    if chosen:
        return Path(chosen)
    latest = checkpoint.latest(request.work_dir)
    if latest is None:
        request.say(f"nothing to resume in {request.work_dir}; starting from the beginning")
    return latest
