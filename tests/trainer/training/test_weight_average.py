"""Averages of the weights against MMEngine's EMAHook, which needs torch and runs in its own process."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from shared.errors import UserError
from shared.train_loop import TrainLoop
from tests.cluster import ROOT
from trainer.device import jt, nn, var
from trainer.training.weight_average import WeightAverage
from trainer.weights import checkpoint

STEPS_PER_EPOCH, STEPS = 5, 20
IN_STEPS = TrainLoop.of({"type": "IterBasedTrainLoop", "max_iters": STEPS})
HOOKS = {
    "defaults": {},
    "exponential": {"momentum": 0.05},
    "a large momentum": {"momentum": 0.8},
    "every third step": {"momentum": 0.3, "interval": 3},
    "from a step on": {"momentum": 0.1, "begin_iter": 7},
    "from the first step on": {"momentum": 0.1, "begin_iter": 1},
    "from an epoch on": {"momentum": 0.1, "begin_epoch": 3, "interval": 2},
    "annealing": {"ema_type": "MomentumAnnealingEMA", "momentum": 0.2, "gamma": 3},
    "annealing by its defaults": {"ema_type": "mmengine.MomentumAnnealingEMA"},
    "MMDetection's, as RTMDet has it": {
        "ema_type": "mmdet.ExpMomentumEMA",
        "momentum": 0.0002,
        "update_buffers": True,
        "priority": 49,
    },
    "MMDetection's, faster": {"ema_type": "ExpMomentumEMA", "momentum": 0.01, "gamma": 4, "begin_iter": 4},
    "stochastic": {"ema_type": "StochasticWeightAverage", "begin_epoch": 2},
    "stochastic, every fourth step": {"ema_type": "StochasticWeightAverage", "interval": 4},
}

MMENGINE = """
import json, sys, types, torch
from mmengine.registry import DefaultScope, HOOKS
import mmengine.hooks
from benchmarks.networks.mmcv_operators import Uncompiled
try:
    import mmcv._ext
except ImportError:
    sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")
import mmdet.models.layers.ema
DefaultScope.get_instance("average", scope_name="mmdet")
hooks, recorded, steps_per_epoch = json.load(sys.stdin)
result = {}
for name, settings in hooks.items():
    model = torch.nn.Linear(4, 3)
    model.register_buffer("running_mean", torch.ones(3))
    def load(values):
        model.load_state_dict({key: torch.tensor(value) for key, value in values.items()}, strict=False)
    load(recorded[0])
    runner = types.SimpleNamespace(model=model, max_epochs=100, max_iters=1000)
    settings.pop("priority", None)  # the runner takes it
    hook = HOOKS.build(dict(type="EMAHook", **settings))
    hook.before_run(runner)
    hook.before_train(runner)
    rows = []
    for step, values in enumerate(recorded[1:]):
        runner.iter, runner.epoch = step, step // steps_per_epoch
        load(values)
        hook.after_train_iter(runner, 0)
        hook.before_val_epoch(runner)
        rows.append({key: value.tolist() for key, value in model.named_parameters()})
        hook.after_val_epoch(runner)
    saved = dict(state_dict=model.state_dict())
    hook.before_save_checkpoint(runner, saved)
    assert all(saved["state_dict"][key].tolist() == value for key, value in rows[-1].items())
    result[name] = rows
print("RESULT" + json.dumps(result))
"""


def recorded() -> list[dict[str, np.ndarray]]:
    """Weights before the first step, and after each."""
    generator = np.random.default_rng(0)
    shapes = {"weight": (3, 4), "bias": (3,)}
    return [
        {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(STEPS + 1)
    ]


WEIGHTS = recorded()


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = (var(WEIGHTS[0][name]) for name in ("weight", "bias"))
        self.frozen = jt.ones((2,)).stop_grad()

    def take(self, step: int) -> None:
        """The weights after the 0-based `step`."""
        for name, value in WEIGHTS[step + 1].items():
            getattr(self, name).update(var(value))


def average_of(model: Linear, **hook: object) -> WeightAverage:
    config = Config({"custom_hooks": [{"type": "EMAHook", **hook}]})
    return WeightAverage(config, {"weight": model.weight, "bias": model.bias})


def numbers(model: Linear) -> dict[str, np.ndarray]:
    return {name: getattr(model, name).numpy() for name in ("weight", "bias")}


@pytest.fixture(scope="module")
def mmengine() -> dict[str, list[dict[str, list]]]:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: mmengine's hooks cannot be run")
    plain = [{name: value.tolist() for name, value in values.items()} for values in WEIGHTS]
    question = json.dumps([HOOKS, plain, STEPS_PER_EPOCH])
    done = subprocess.run([sys.executable, "-c", MMENGINE], input=question, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[1])


@pytest.mark.parametrize("cut", [None, 6, 13], ids=["in one go", "resumed after 6", "resumed after 13"])
@pytest.mark.parametrize("name", HOOKS)
def test_the_average_after_every_step_is_mmengines(name: str, cut: int | None, mmengine: dict, tmp_path: Path) -> None:
    model = Linear()
    average = average_of(model, **HOOKS[name])
    for step, expected in enumerate(mmengine[name]):
        if step == cut:
            path = tmp_path / "a.safetensors"
            with average.in_place():
                checkpoint.save(path, model, None, {"epoch": 0, "step": 0}, {}, training=average.state_dict())
            model, saved = Linear(), checkpoint.load(path)
            average = average_of(model, **HOOKS[name])
            checkpoint.restore(saved, model)
            checkpoint.put(average.load(saved), model)
        model.take(step)
        average.follow(step, STEPS_PER_EPOCH)
        jt.sync_all()
        with average.in_place():
            found = numbers(model)
        for key, value in numbers(model).items():
            np.testing.assert_array_equal(value, WEIGHTS[step + 1][key])
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-6, atol=1e-6)


def test_a_step_that_fails_leaves_the_average_of_the_last_one() -> None:
    for first in (0, 3):
        model = Linear()
        average = average_of(model, momentum=0.3)
        for step in range(first):
            model.take(step)
            average.follow(step, STEPS_PER_EPOCH)
        with average.in_place():
            before = numbers(model)
        average.keep()
        average.follow(first, STEPS_PER_EPOCH)
        average.restore()
        with average.in_place():
            assert all((value == before[name]).all() for name, value in numbers(model).items())
        assert ("steps" in average.state_dict()) == bool(first)


def test_evaluating_the_average_leaves_the_weights_trainable_and_the_average_not() -> None:
    model = Linear()
    model.train()
    average = average_of(model, momentum=0.3)
    for step in range(3):
        model.take(step)
        average.follow(step, STEPS_PER_EPOCH)
        with average.in_place():
            model.eval()
            model.train()
        assert not model.weight.is_stop_grad() and model.frozen.is_stop_grad()
        assert all(one.is_stop_grad() for one in average._averages)
        weight, bias = jt.grad((model.weight * 2).sum() + model.bias.sum(), [model.weight, model.bias])
        assert (weight.numpy() == 2).all() and (bias.numpy() == 1).all()


def test_without_a_hook_there_is_none_and_a_checkpoint_that_has_one_is_refused(tmp_path: Path) -> None:
    model = Linear()
    average = average_of(model, momentum=0.5)
    average.follow(0, STEPS_PER_EPOCH)
    none = WeightAverage(Config({}), {"weight": model.weight, "bias": model.bias})
    none.follow(0, STEPS_PER_EPOCH)
    none.check_begin(1, IN_STEPS)
    assert not none and none.state_dict() == {} and average
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, model, None, {"epoch": 0, "step": 0}, {}, training=average.state_dict())
    with pytest.raises(UserError, match="has an average of the weights, and the config has no EMAHook: resume with"):
        none.load(checkpoint.load(path))
    other = WeightAverage(Config({"custom_hooks": [{"type": "EMAHook"}]}), {"weight": model.weight})
    with pytest.raises(UserError, match=r"do not fit the model: 1 unexpected: bias float32\[3\]"):
        other.load(checkpoint.load(path))


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ({"momentum": 1.0}, "custom_hooks[0].momentum=1.0: expected a number above 0 and below 1"),
        ({"momentum": 0}, "custom_hooks[0].momentum=0: expected a number above 0"),
        ({"gamma": 3}, "custom_hooks[0] (ExponentialMovingAverage): unknown key 'gamma'"),
        ({"ema_type": "ExpMomentumEMA", "gamma": 0}, "custom_hooks[0].gamma=0: expected a number above 0"),
        ({"ema_type": "StochasticWeightAverage", "momentum": 0.1}, "(StochasticWeightAverage): unknown key 'momentum'"),
        ({"begin_iter": 1, "begin_epoch": 1}, "custom_hooks[0]: give begin_iter or begin_epoch, not both"),
        (
            {"begin_iter": 21},
            "custom_hooks[0] would begin after the run's end, 20 steps: begin earlier, or remove it",
        ),
        ({"begin_epoch": 5}, "custom_hooks[0] would begin after the run's end, 20 steps"),
    ],
)
def test_a_mistake_in_the_config_is_named(hook: dict, text: str) -> None:
    with pytest.raises(UserError) as caught:
        average_of(Linear(), **hook).check_begin(20, TrainLoop.of({"max_epochs": 4}))
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_that_counts_steps_has_no_epoch_to_begin_by() -> None:
    average_of(Linear(), begin_iter=20).check_begin(20, IN_STEPS)
    with pytest.raises(UserError, match=r"custom_hooks\[0\]\.begin_epoch: IterBasedTrainLoop has no epochs; set begin"):
        average_of(Linear(), begin_epoch=1).check_begin(20, IN_STEPS)
