"""What follows from the evaluations of a run."""

import json

import pytest
from mmengine.config import Config

from shared.errors import UserError
from trainer.training.verdicts import Verdicts

SAVE_BEST = {"default_hooks": {"checkpoint": {"save_best": "auto"}}, "val_evaluator": {"type": "CocoMetric"}}
PLATEAU = {"type": "ReduceOnPlateauLR", "monitor": "mAP", "rule": "greater", "patience": 0}
STOPPING = {"type": "EarlyStoppingHook", "monitor": "mAP", "patience": 2, "min_delta": 0.0}


def of(**keys: object) -> Verdicts:
    return Verdicts(Config(SAVE_BEST | keys))


def test_an_evaluation_that_is_made_again_decides_nothing() -> None:
    verdicts = of()
    assert verdicts.take({"mAP": 0.5}, 1, 7).changed
    resumed = of()
    resumed.resume(json.loads(json.dumps(verdicts.state)))
    assert not resumed.take({"mAP": 0.9}, 1, 7).changed and resumed.state == verdicts.state
    assert resumed.take({"mAP": 0.9}, 2, 14).changed


def test_a_resumed_run_ends_where_an_undisturbed_one_ends() -> None:
    verdicts = of(custom_hooks=[STOPPING])
    assert verdicts.take({"mAP": 0.5}, 1, 7).changed and verdicts.take({"mAP": 0.4}, 2, 14).changed
    assert not verdicts.over
    resumed = of(custom_hooks=[STOPPING])
    resumed.resume(json.loads(json.dumps(verdicts.state)))
    assert "coco/mAP has not" not in resumed.take({"mAP": 0.4}, 2, 14).says and not resumed.over
    said = resumed.take({"mAP": 0.45}, 3, 21).says
    assert said == "the run ends early: mAP has not improved in 2 evaluations; the best was 0.5 (custom_hooks[0])"
    again = of(custom_hooks=[STOPPING])
    again.resume(resumed.state)
    assert again.over and not of().over
    without = of()
    without.resume(resumed.state)
    assert not without.over


def test_a_run_that_counts_steps_names_its_best_by_them() -> None:
    (best,) = of(train_cfg={"type": "IterBasedTrainLoop", "max_iters": 90}).take({"mAP": 0.5}, 2, 14).best
    assert best.file == "best_mAP_iter_14.safetensors"


def test_an_evaluation_without_metrics_decides_nothing() -> None:
    assert not of().take({}, 1, 7).changed


def test_the_best_of_a_run_without_evaluations_is_refused() -> None:
    with pytest.raises(
        UserError, match="save_best, EarlyStoppingHook and schedulers named ReduceOnPlateau are decided by "
    ):
        of(val_evaluator=None)
    with pytest.raises(UserError, match="there is no val_evaluator"):
        of(val_evaluator=None, default_hooks=None, custom_hooks=[STOPPING])
    with pytest.raises(UserError, match="there is no val_evaluator"):
        of(val_evaluator=None, default_hooks=None, param_scheduler=PLATEAU)
    of(val_evaluator=None, default_hooks=None)


def test_a_rate_falls_from_the_step_on_after_which_the_metrics_are_taken() -> None:
    verdicts = of(param_scheduler=[None, PLATEAU], custom_hooks=[STOPPING | {"patience": 1}])
    assert verdicts.take({"mAP": 0.5}, 1, 7, 14).says == "" and not verdicts.cuts
    stops, _, falls = verdicts.take({"mAP": 0.4}, 2, 14, 21).says.rpartition("; ")
    assert stops.startswith("the run ends early") and falls == (
        "mAP has not improved in 1 evaluations, the best was 0.5: the learning rate falls to 0.1 of what it is "
        "(param_scheduler[1])"
    )
    (cut,) = verdicts.cuts
    assert cut.step == 21
    resumed = of(param_scheduler=[PLATEAU])
    resumed.resume(json.loads(json.dumps(verdicts.state)))
    assert resumed.cuts == verdicts.cuts and resumed.take({"mAP": 0.45}, 3, 21).says and len(resumed.cuts) == 2
    without = of()
    without.resume(verdicts.state)
    assert without.cuts == []
