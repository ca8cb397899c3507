"""When a run writes checkpoints and logs, against MMEngine's rules; `shared.train_loop` says when it evaluates."""

from mmengine.config import Config

from trainer.training.intervals import Intervals

STEPS = 5  # of an epoch


def of(**keys: object) -> Intervals:
    return Intervals(Config({"val_evaluator": {"type": "CocoMetric"}, "train_cfg": {"max_epochs": 12}, **keys}))


def saved(intervals: Intervals) -> list[int]:
    """The steps after which it writes a checkpoint."""
    return [step for step in range(1, intervals.loop.total_steps(STEPS) + 1) if intervals.saves(step, STEPS)]


def test_without_an_evaluator_nothing_is_evaluated() -> None:
    assert of().evaluates(STEPS, STEPS)
    assert not of(val_evaluator=None).evaluates(STEPS, STEPS)
    assert of(val_evaluator=None, test_evaluator={"type": "CocoMetric"}).evaluates(STEPS, STEPS)


def hooks(**checkpoint: object) -> dict:
    return {"val_evaluator": None, "default_hooks": {"checkpoint": checkpoint}, "train_cfg": {"max_epochs": 4}}


def test_checkpoints_come_at_the_interval_in_epochs_or_steps_and_at_the_end() -> None:
    assert saved(of(**hooks())) == [5, 10, 15, 20]
    assert saved(of(**hooks(interval=3))) == [15, 20]
    assert saved(of(**hooks(interval=-1))) == [20]
    assert saved(of(**hooks(interval=8, by_epoch=False))) == [8, 16, 20]
    assert saved(of(**hooks(interval=-1, by_epoch=False))) == saved(of(**hooks(by_epoch=False))) == [20]


def test_a_run_that_counts_steps_has_one_epoch_for_its_checkpoints() -> None:
    steps = {"train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 13, "val_interval": 6}}
    assert saved(of(**hooks(interval=4, by_epoch=False) | steps)) == [4, 8, 12, 13]
    assert saved(of(**hooks(interval=1) | steps)) == saved(of(**hooks() | steps)) == [13]
    assert saved(of(**hooks() | steps | {"val_evaluator": {"type": "CocoMetric"}})) == [6, 12, 13]


def test_a_checkpoint_comes_before_every_evaluation() -> None:
    every_second = {"max_epochs": 4, "val_interval": 2}
    assert saved(of(**hooks(interval=3) | {"train_cfg": every_second, "val_evaluator": [{}]})) == [10, 15, 20]


def test_a_hook_that_is_none_is_switched_off() -> None:
    off = of(default_hooks={"checkpoint": None, "logger": None})
    assert saved(off) == [] and off.log is None and off.evaluates(STEPS, STEPS)
    for hooks in (None, {}, {"checkpoint": {}, "logger": {}}):
        assert of(default_hooks=hooks).log == 50 and saved(of(default_hooks=hooks))[0] == STEPS


def test_how_many_checkpoints_are_kept_is_none_for_all() -> None:
    assert of(**hooks(max_keep_ckpts=3)).max_keep == 3
    assert of(**hooks(max_keep_ckpts=-1)).max_keep is None and of(**hooks()).max_keep is None
