"""From which epoch on there is another pipeline: as MMDetection's hooks count; what they cannot switch is refused."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import UserError
from shared.keys import Values
from shared.pipeline_switch import PIPELINE_SWITCH, pipeline_switch

STEPS = [{"type": "LoadImageFromFile"}, {"type": "PackDetInputs"}]
PIPELINE = {"type": "PipelineSwitchHook", "switch_epoch": 3, "switch_pipeline": STEPS}
MODE = {"type": "mmdet.YOLOXModeSwitchHook", "priority": 48}
PLAIN = {"type": "CocoDataset"}
MIXED = {"type": "MultiImageMixDataset", "pipeline": [], "dataset": PLAIN}


def config(*hooks: dict[str, Any], dataset: dict[str, Any] = PLAIN, **train_cfg: Any) -> dict[str, Any]:
    return {"custom_hooks": list(hooks), "train_cfg": train_cfg, "train_dataloader": {"dataset": dataset}}


def test_without_a_hook_there_is_one_pipeline() -> None:
    assert pipeline_switch(config({"type": "NumClassCheckHook"})) is None


def test_another_pipeline_begins_at_its_epoch() -> None:
    assert pipeline_switch(config(PIPELINE)) == {"epoch": 3, "pipeline": STEPS}


@pytest.mark.parametrize("last", [0, 1, 2, 9, 10, 15])
def test_mixing_ends_before_the_first_epoch_of_which_mmdetections_hook_says_so(last: int) -> None:
    mode = {**MODE, "num_last_epochs": last}
    epoch = next(epoch for epoch in range(10) if epoch + 1 >= 10 - last)  # its own condition
    found = pipeline_switch(config(mode, dataset=MIXED, max_epochs=10))
    assert found == {"epoch": epoch, "skip": ["Mosaic", "RandomAffine", "MixUp"]}


def test_the_steps_that_are_left_out_may_be_named() -> None:
    found = pipeline_switch(config({**MODE, "skip_type_keys": ("Mosaic",)}, dataset=MIXED, max_epochs=300))
    assert found == {"epoch": 284, "skip": ["Mosaic"]}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (config(PIPELINE, MODE), r"'custom_hooks\[0\]' and 'custom_hooks\[1\]' both switch the pipeline"),
        (config(PIPELINE, type="IterBasedTrainLoop", max_iters=9), "counts epochs, and IterBasedTrainLoop has none"),
        (config(PIPELINE, dataset=MIXED), "a MultiImageMixDataset has none of its own to replace"),
        (config(MODE), "the transforms of a MultiImageMixDataset, and train_dataloader.dataset is 'CocoDataset'"),
    ],
)
def test_a_switch_that_would_change_nothing_or_another_thing_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        pipeline_switch(wrong)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"epoch": 1}, {"epoch": -1, "skip": []}, {"epoch": 1, "skip": "Mosaic"}, {"epoch": True, "skip": []}, 3],
)
def test_what_came_over_the_wire_is_checked(wrong: object) -> None:
    values: Values = PIPELINE_SWITCH
    assert values.accepts(None) and values.accepts({"epoch": 0, "pipeline": STEPS}) and not values.accepts(wrong)
