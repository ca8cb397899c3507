"""Writes stage 1's boxes for every image of the config's data sets, for stage 2 to read.

`trainer.evaluation.proposals` says how and where. With ``--draw`` the images that are proposed for are drawn, too:
``drawn/<annotation file>/<image id>.jpg`` in the work dir.
"""

from __future__ import annotations

import argparse

from shared.command_line import GOOD
from trainer.tasks import Request, add_checkpoint, add_drawing

NEEDS_SERVER = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    add_drawing(parser)


def run(request: Request) -> int:
    """Writes the proposals of a checkpoint.

    Raises:
        UserError: there is no checkpoint, it does not fit, or the config has no data set or no pipeline for testing.
    """
    from trainer.evaluation.evaluate import load_model
    from trainer.evaluation.proposals import Proposing
    from trainer.weights import checkpoint

    options = request.options
    path = checkpoint.chosen(options.checkpoint, request.work_dir, "propose")
    model = load_model(request.config, path, request.say)
    proposing = Proposing(
        request.config,
        request.server,
        request.work_dir,
        request.say,
        draws=options.draw,
        threshold=options.score_threshold,
    )
    proposing.run(model, path)
    return GOOD
