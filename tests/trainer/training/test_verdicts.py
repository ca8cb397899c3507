"""What follows from the evaluations of a run."""

import json

import pytest
from mmengine.config import Config

from shared.errors import UserError
from trainer.training.verdicts import Verdicts

SAVE_BEST = {"default_hooks": {"checkpoint": {"save_best": "auto"}}, "val_evaluator": {"type": "CocoMetric"}}


def of(**keys: object) -> Verdicts:
    return Verdicts(Config(SAVE_BEST | keys))


def test_an_evaluation_that_is_made_again_decides_nothing() -> None:
    verdicts = of()
    assert verdicts.take({"mAP": 0.5}, 1, 7).changed
    resumed = of()
    resumed.resume(json.loads(json.dumps(verdicts.state)))
    assert not resumed.take({"mAP": 0.9}, 1, 7).changed and resumed.state == verdicts.state
    assert resumed.take({"mAP": 0.9}, 2, 14).changed


def test_an_evaluation_without_metrics_decides_nothing() -> None:
    assert not of().take({}, 1, 7).changed


def test_the_best_of_a_run_without_evaluations_is_refused() -> None:
    with pytest.raises(UserError, match="save_best is decided by evaluations, and there is no val_evaluator"):
        of(val_evaluator=None)
    of(val_evaluator=None, default_hooks=None)
