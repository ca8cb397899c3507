"""When a run evaluates, writes checkpoints and logs, against MMEngine's rules."""

import bisect

import pytest
from mmengine.config import Config

from trainer.training.intervals import Intervals

STEPS = 5  # of an epoch


def of(**keys: object) -> Intervals:
    return Intervals(Config({"val_evaluator": {"type": "CocoMetric"}, "train_cfg": {"max_epochs": 12}, **keys}))


def evaluated(intervals: Intervals) -> list[int]:
    """The epochs after which it evaluates; it never does in the middle of one."""
    steps = [step for step in range(1, STEPS * intervals.max_epochs + 1) if intervals.evaluates(step, STEPS)]
    assert all(step % STEPS == 0 for step in steps) and not intervals.evaluates(0, STEPS)
    return [step // STEPS for step in steps]


def saved(intervals: Intervals) -> list[int]:
    """The steps after which it writes a checkpoint."""
    return [step for step in range(1, STEPS * intervals.max_epochs + 1) if intervals.saves(step, STEPS)]


@pytest.mark.parametrize("begin", [None, 0, 1, 6, 13])
@pytest.mark.parametrize("interval", [1, 5, 20])
@pytest.mark.parametrize("dynamic", [None, [(4, 2)], [(3, 3), (9, 1)], [(10, 4), (12, 20)]])
def test_evaluations_are_those_of_mmengines_loop(begin, interval, dynamic) -> None:
    milestones = [0] + [epoch for epoch, _ in dynamic or []]
    intervals = [interval] + [value for _, value in dynamic or []]
    expected = []
    for epoch in range(1, 13):  # EpochBasedTrainLoop.run and _decide_current_val_interval
        now = intervals[bisect.bisect(milestones, epoch + 1) - 1]
        if epoch >= (begin or 0) and (epoch % now == 0 or epoch == 12):
            expected.append(epoch)
    train_cfg = {"max_epochs": 12, "val_begin": begin, "val_interval": interval, "dynamic_intervals": dynamic}
    assert evaluated(of(train_cfg=train_cfg)) == expected
    assert evaluated(of(train_cfg=train_cfg, val_evaluator=None)) == []


def hooks(**checkpoint: object) -> dict:
    return {"val_evaluator": None, "default_hooks": {"checkpoint": checkpoint}, "train_cfg": {"max_epochs": 4}}


def test_checkpoints_come_at_the_interval_in_epochs_or_steps_and_at_the_end() -> None:
    assert saved(of(**hooks())) == [5, 10, 15, 20]
    assert saved(of(**hooks(interval=3))) == [15, 20]
    assert saved(of(**hooks(interval=-1))) == [20]
    assert saved(of(**hooks(interval=8, by_epoch=False))) == [8, 16, 20]
    assert saved(of(**hooks(interval=-1, by_epoch=False))) == [20]


def test_a_checkpoint_comes_before_every_evaluation() -> None:
    every_second = {"max_epochs": 4, "val_interval": 2}
    assert saved(of(**hooks(interval=3) | {"train_cfg": every_second, "val_evaluator": [{}]})) == [10, 15, 20]


def test_a_hook_that_is_none_is_switched_off() -> None:
    off = of(default_hooks={"checkpoint": None, "logger": None})
    assert saved(off) == [] and off.log is None and evaluated(off) == list(range(1, 13))
    for hooks in (None, {}, {"checkpoint": {}, "logger": {}}):
        assert of(default_hooks=hooks).log == 50 and saved(of(default_hooks=hooks))[0] == STEPS


def test_how_many_checkpoints_are_kept_is_none_for_all() -> None:
    assert of(**hooks(max_keep_ckpts=3)).max_keep == 3
    assert of(**hooks(max_keep_ckpts=-1)).max_keep is None and of(**hooks()).max_keep is None
