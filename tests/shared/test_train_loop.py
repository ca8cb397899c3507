"""How long a run is and when it is evaluated, against MMEngine's own loops, which run in a process with torch."""

import json
import subprocess
import sys

import pytest

from shared.errors import UserError
from shared.train_loop import TrainLoop
from tests.cluster import ROOT

STEPS = 5  # of an epoch
MMENGINE = """
import json, sys, types, warnings
warnings.filterwarnings("ignore")
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
given, steps = json.load(sys.stdin)
answers = []
for config in given:
    config = dict(config)
    kind = {"EpochBasedTrainLoop": EpochBasedTrainLoop, "IterBasedTrainLoop": IterBasedTrainLoop}[config.pop("type")]
    pairs = config.pop("dynamic_intervals", None)
    class Data(list):
        dataset = types.SimpleNamespace(metainfo={})
    evaluated, trained = [], []
    model = types.SimpleNamespace(train=lambda: None, train_step=lambda batch, optim_wrapper: trained.append(batch))
    val_loop = types.SimpleNamespace(run=lambda: evaluated.append(len(trained)))
    runner = types.SimpleNamespace(
        model=model, val_loop=val_loop, optim_wrapper=None, call_hook=lambda *_, **__: None,
        visualizer=types.SimpleNamespace(), distributed=False)
    loop = kind(runner, Data(range(steps)), **config, dynamic_intervals=pairs and [tuple(pair) for pair in pairs])
    if kind is IterBasedTrainLoop:
        loop.dataloader_iterator._reset_iterator = lambda: setattr(
            loop.dataloader_iterator, "_iterator", iter(loop.dataloader))  # without its two seconds of sleep
    loop.run()
    answers.append([len(trained), evaluated])
print("RESULT" + json.dumps(answers))
"""


def cases():
    for begin in ({}, {"val_begin": 0}, {"val_begin": 6}, {"val_begin": 13}):
        for interval in (1, 5, 20.0):
            for pairs in (None, [(4, 2)], [(3, 3), (9, 1)], [(10, 4), (12, 20)]):
                rest = {"val_interval": interval, "dynamic_intervals": pairs, **begin}
                yield {"type": "EpochBasedTrainLoop", "max_epochs": 12, **rest}
                yield {"type": "IterBasedTrainLoop", "max_iters": 12, **rest}
    yield {"type": "EpochBasedTrainLoop", "max_epochs": 3}
    yield {"type": "IterBasedTrainLoop", "max_iters": 2003.0}
    yield {"type": "IterBasedTrainLoop", "max_iters": 31, "val_interval": 10, "dynamic_intervals": [(21, 31)]}


@pytest.mark.slow
def test_steps_and_evaluations_are_those_of_mmengines_loops() -> None:
    configs = list(cases())
    done = subprocess.run(
        [sys.executable, "-c", MMENGINE], input=json.dumps([configs, STEPS]), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    for config, (steps, evaluated) in zip(configs, json.loads(done.stdout.split("RESULT")[1]), strict=True):
        loop = TrainLoop.of(config)
        assert loop.total_steps(STEPS) == steps, config
        assert [step for step in range(steps + 1) if loop.evaluates(step, STEPS)] == evaluated, config


def test_a_loop_is_named_by_its_type_or_by_what_it_counts() -> None:
    epochs = TrainLoop.of({"max_epochs": 3})
    assert epochs == TrainLoop.of({"type": "mmengine.EpochBasedTrainLoop", "max_epochs": 3})
    assert epochs == TrainLoop.of({"by_epoch": True, "max_epochs": 3, "max_iters": None})
    steps = TrainLoop.of({"by_epoch": False, "max_iters": 3})
    assert steps == TrainLoop.of({"type": "mmengine.runner.IterBasedTrainLoop", "max_iters": 3.0})
    assert (epochs.total_steps(7), steps.total_steps(7), TrainLoop.of({}).length) == (21, 3, 12)


def test_a_checkpoint_has_the_number_of_its_epoch_only_where_epochs_count() -> None:
    epochs, steps = TrainLoop.of({"max_epochs": 3}), TrainLoop.of({"by_epoch": False, "max_iters": 10})
    assert [loop.checkpoint_name(10, 5) for loop in (epochs, steps)] == ["epoch_2.safetensors", "step_10.safetensors"]
    assert epochs.checkpoint_name(11, 5) == "step_11.safetensors"
    assert steps.last_checkpoint == steps.checkpoint_name(10, 5)
    assert epochs.last_checkpoint == epochs.checkpoint_name(15, 5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"type": "IterBasedTrainLoop"}, "'train_cfg.max_iters' is missing: IterBasedTrainLoop needs the number"),
        ({"by_epoch": False}, "'train_cfg.max_iters' is missing"),
        ({"type": "EpochBasedTrainLoop", "by_epoch": False, "max_iters": 5}, "'train_cfg.by_epoch' is False, and"),
        ({"max_iters": 5}, "'train_cfg.max_iters' is 5, and EpochBasedTrainLoop counts max_epochs: set type='Iter"),
        ({"by_epoch": False, "max_iters": 5, "max_epochs": 12}, "'train_cfg.max_epochs' is 12, and Iter.* remove max"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(config: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        TrainLoop.of(config)
