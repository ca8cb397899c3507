"""Evaluates a checkpoint with MMDetection's metrics, on every split that has an evaluator.

In the work dir it writes ``results.json`` (`trainer.evaluation.results`), the predictions and a contact sheet
(`trainer.evaluation.evaluate`), with ``--draw`` every image.
"""

from __future__ import annotations

import argparse

from shared.command_line import GOOD
from shared.files import expect
from shared.terminal import show
from trainer.tasks import Request, add_checkpoint, add_drawing

NEEDS_SERVER = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument("--chance", action="store_true", help="also with the names' embeddings shuffled")
    add_drawing(parser)


def run(request: Request) -> int:
    """Evaluates; prints the metrics as a table.

    Raises:
        UserError: there is no checkpoint, it does not fit, or there is nothing to evaluate.
    """
    from trainer.evaluation import results
    from trainer.evaluation.evaluate import Evaluation, load_model
    from trainer.weights import checkpoint

    options, work_dir = request.options, request.work_dir
    path = checkpoint.chosen(options.checkpoint, work_dir, "evaluate")
    expect(work_dir / results.RESULTS_FILE)
    model = load_model(request.config, path, request.say)
    request.say(f"evaluating {path}")
    evaluation = Evaluation(
        request.config,
        request.server,
        work_dir,
        request.say,
        chance=options.chance,
        keeps=True,
        draws=options.draw,
        threshold=options.score_threshold,
    )
    found = evaluation.run(model).metrics
    results.write(work_dir, path, found)
    show(results.as_table(found))
    return GOOD
