"""The scale of the loss against MMEngine's AmpOptimWrapper, which runs in a process of its own, on the same losses."""

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from shared.errors import UserError
from tests.trainer.training.updates import ADAMW, SGD, make_model, numbers
from trainer.device import jt, var
from trainer.training.accumulation import Accumulation
from trainer.training.loss_scale import Skips
from trainer.training.optimizer import Optimizer, build_optimizer

STEPS = 24
# What each step's loss is multiplied by: gradients that are infinite or no numbers at the first, in the midst, in a
# row, and where the scale has grown, ones that overflow by it alone.
FACTORS = [1.0] * STEPS
for step, factor in {0: math.inf, 5: math.nan, 6: math.inf, 11: -math.inf, 17: 1e38}.items():
    FACTORS[step] = factor
DYNAMIC = {"init_scale": 1024.0, "growth_interval": 3, "growth_factor": 4.0, "backoff_factor": 0.25}
WRAPPERS: dict[str, dict[str, Any]] = {
    "dynamic": {"optimizer": SGD},
    "dynamic, growing": {"optimizer": SGD, "loss_scale": DYNAMIC, "clip_grad": {"max_norm": 0.5}},
    "dynamic, AdamW": {"optimizer": ADAMW, "loss_scale": DYNAMIC},
    "dynamic, dampened": {"optimizer": SGD | {"dampening": 0.3}, "loss_scale": DYNAMIC},
    "dynamic, batches in threes": {"optimizer": ADAMW, "loss_scale": DYNAMIC, "accumulative_counts": 3},
    "static": {"optimizer": SGD, "loss_scale": 512.0},
    "static, largest moments": {"optimizer": ADAMW | {"amsgrad": True}, "loss_scale": 512.0},
}
for wrapper in WRAPPERS.values():
    wrapper["type"] = "AmpOptimWrapper"

MMENGINE = """
import functools, json, sys, torch
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper as amp
amp.is_cuda_available = lambda: True  # the scaler below computes on a CPU
amp.GradScaler = functools.partial(torch.amp.GradScaler, "cpu")
wrappers, weights, (inputs, targets), factors = json.load(sys.stdin)
inputs, targets = torch.tensor(inputs), torch.tensor(targets)
result = {}
for name, config in wrappers.items():
    model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(5, 4), "head": torch.nn.Linear(4, 3)})
    model.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
    wrapper = build_optim_wrapper(model, config)
    wrapper.initialize_count_status(model, 0, len(factors))
    scales = []
    for step, factor in enumerate(factors):
        rows = slice(step % 3 * 2, step % 3 * 2 + 2)
        loss = ((model["head"](model["backbone"](inputs[rows])) - targets[rows]) ** 2).mean()
        wrapper.update_params(loss * factor)
        scales.append([wrapper.loss_scaler.get_scale(), wrapper.loss_scaler.state_dict()["_growth_tracker"]])
    result[name] = {"scales": scales, "weights": {key: value.tolist() for key, value in model.state_dict().items()}}
print("RESULT" + json.dumps(result))
"""


@pytest.fixture(scope="module")
def theirs() -> dict[str, dict[str, Any]]:
    pytest.importorskip("mmengine")
    weights, inputs, targets = numbers()
    plain = {name: weight.tolist() for name, weight in weights.items()}
    question = json.dumps([WRAPPERS, plain, [inputs.tolist(), targets.tolist()], FACTORS])
    done = subprocess.run([sys.executable, "-c", MMENGINE], input=question, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.split("RESULT")[1])
    return found


def train(model: Any, optimizer: Optimizer, steps: range) -> list[tuple[float, float]]:
    """Steps of the run of all; returns the scale and its streak after each."""
    assert optimizer.loss_scale is not None
    accumulation, scales = Accumulation(optimizer.counts, STEPS), []
    _, inputs, targets = numbers()
    for step in steps:
        rows = slice(step % 3 * 2, step % 3 * 2 + 2)
        loss = ((model(var(inputs[rows])) - var(targets[rows])) ** 2).mean()
        optimizer.step(loss * FACTORS[step], accumulation.share(step))
        jt.sync_all()
        scale, streak, _ = optimizer.loss_scale.state.numpy().tolist()
        scales.append((scale, streak))
    return scales


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_recorded_run_skips_backs_off_and_grows_as_mmengines(name: str, theirs: dict) -> None:
    model = make_model()
    scales = train(model, build_optimizer(WRAPPERS[name], model), range(STEPS))
    recorded = theirs[name]["scales"]
    assert [scale for scale, _ in scales] == [scale for scale, _ in recorded]
    if name.startswith("dynamic"):  # of a scale that does not change, torch keeps no streak
        assert [streak for _, streak in scales] == [streak for _, streak in recorded]
    # Float32 on both sides: sums are in another order, and the steps add it up.
    for parameter, expected in theirs[name]["weights"].items():
        found = model.state_dict(to="numpy")[parameter]
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6, err_msg=parameter)
        assert np.isfinite(found).all()
    assert np.abs(found - numbers()[0][parameter]).max() > 1e-3


@pytest.mark.parametrize("name", ["dynamic, AdamW", "dynamic, dampened", "dynamic, batches in threes"])
def test_a_restored_state_goes_on_bit_for_bit(name: str) -> None:
    straight = make_model()
    expected = train(straight, build_optimizer(WRAPPERS[name], straight), range(STEPS))
    first = make_model()
    optimizer = build_optimizer(WRAPPERS[name], first)
    train(first, optimizer, range(7))
    second = make_model()
    for parameter, value in first.state_dict(to="numpy").items():
        second.state_dict()[parameter].update(var(value))
    resumed = build_optimizer(WRAPPERS[name], second)
    resumed.load_state_dict(optimizer.state_dict())
    assert train(second, resumed, range(7, STEPS)) == expected[7:]
    for parameter, value in straight.state_dict(to="numpy").items():
        np.testing.assert_array_equal(second.state_dict(to="numpy")[parameter], value)


def test_a_checkpoint_counts_the_updates_that_were_not_skipped() -> None:
    model = make_model()
    optimizer = build_optimizer(WRAPPERS["dynamic, AdamW"], model)
    train(model, optimizer, range(8))  # of which three are skipped
    assert optimizer.state_dict()["step"].tolist() == [5]


def test_a_step_that_is_undone_takes_the_scale_back() -> None:
    model = make_model()
    optimizer = build_optimizer(WRAPPERS["dynamic, growing"], model)
    optimizer.keep()
    train(model, optimizer, range(1))
    optimizer.restore()
    assert optimizer.state_dict()["loss_scale"].tolist() == [1024.0, 0.0, 0.0]


def test_the_norm_is_that_of_the_gradients_without_the_scale() -> None:
    _, inputs, targets = numbers()
    norms = []
    for wrapper in ({"optimizer": SGD}, WRAPPERS["static"]):
        model = make_model()
        loss = ((model(var(inputs)) - var(targets)) ** 2).mean()
        norms.append(build_optimizer(wrapper, model).step(loss).item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


def test_updates_skipped_in_a_row_are_counted_up_to_the_last() -> None:
    skips = Skips()
    assert [(skips.count(norm), skips.in_a_row) for norm in (math.inf, math.nan, 1.0, math.inf)] == [
        (True, 1),
        (True, 2),
        (False, 0),
        (True, 1),
    ]


@pytest.mark.parametrize(
    ("loss_scale", "message"),
    [
        ("static", "optim_wrapper.loss_scale: a number, 'dynamic' or a dict is expected, found 'static'"),
        (0, "optim_wrapper.loss_scale=0: expected a number above 0"),
        ({"init_scale": 0}, "optim_wrapper.loss_scale.init_scale is 0; expected a number above 0"),
        ({"growth_factor": 1.0}, "optim_wrapper.loss_scale.growth_factor is 1.0; expected a number above 1"),
        ({"backoff_factor": 1}, "optim_wrapper.loss_scale.backoff_factor is 1; expected a number above 0 and below 1"),
        ({"growth_interval": 0}, "optim_wrapper.loss_scale.growth_interval is 0; expected"),
        ({"init_scales": 2}, "init_scale"),
    ],
)
def test_a_scale_that_is_none_is_refused_by_name(loss_scale: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_optimizer({"type": "AmpOptimWrapper", "optimizer": SGD, "loss_scale": loss_scale}, make_model())
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["loss_scale", "dtype"])
def test_a_key_of_half_precision_is_refused_without_it(key: str) -> None:
    with pytest.raises(UserError, match=f"{key} is of half precision: set optim_wrapper.type='AmpOptimWrapper'"):
        build_optimizer({"type": "OptimWrapper", "optimizer": SGD, key: None}, make_model())


def test_without_amp_and_with_a_scaler_that_is_not_enabled_nothing_is_scaled() -> None:
    for wrapper in ({}, {"type": "AmpOptimWrapper", "loss_scale": {"enabled": False}}):
        optimizer = build_optimizer({"optimizer": SGD, **wrapper}, make_model())
        assert optimizer.loss_scale is None
        assert "loss_scale" not in optimizer.state_dict()
