"""A small model that our optimizers and torch's move on the same numbers; torch runs in a process of its own."""

import importlib.util
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from trainer.device import jt, nn, var
from trainer.training.accumulation import Accumulation
from trainer.training.optimizer import Optimizer

STEPS = 20
SGD = {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 1e-2}
ADAMW = {"type": "AdamW", "lr": 1e-2, "betas": [0.9, 0.99], "weight_decay": 0.05}

TORCH = """
import json, sys, torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
wrappers, schedules, weights, (inputs, targets), steps = json.load(sys.stdin)
inputs, targets = torch.tensor(inputs), torch.tensor(targets)
result = {}
for name, config in wrappers.items():
    model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(5, 4), "head": torch.nn.Linear(4, 3)})
    model.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
    wrapper = build_optim_wrapper(model, config)
    wrapper.initialize_count_status(model, 0, steps)
    scheduler = schedules.get(name) and PARAM_SCHEDULERS.build(
        {"end": steps, **schedules[name]}, default_args={"optimizer": wrapper}
    )
    for step in range(steps):
        rows = slice(step % 3 * 2, step % 3 * 2 + 2)
        wrapper.update_params(((model["head"](model["backbone"](inputs[rows])) - targets[rows]) ** 2).mean())
        if scheduler:
            scheduler.step()
    result[name] = {key: value.tolist() for key, value in model.state_dict().items()}
print("RESULT" + json.dumps(result))
"""


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)
        self.frozen = jt.ones((2,)).stop_grad()

    def execute(self, inputs: jt.Var) -> jt.Var:
        return self.head(self.backbone(inputs)) * self.frozen[0]


def numbers() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"backbone.weight": (4, 5), "backbone.bias": (4,), "head.weight": (3, 4), "head.bias": (3,)}
    weights = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return weights, generator.normal(size=(6, 5)).astype(np.float32), generator.normal(size=(6, 3)).astype(np.float32)


def make_model() -> Model:
    model = Model()
    parameters = model.state_dict()
    for name, weight in numbers()[0].items():
        parameters[name].update(var(weight))
    return model


def loss_of(model: Model, rows: slice = slice(None)) -> jt.Var:
    _, inputs, targets = numbers()
    return ((model(var(inputs[rows])) - var(targets[rows])) ** 2).mean()


def train(model: Model, optimizer: Optimizer, steps: int, first: int = 0) -> None:
    """A run of STEPS steps, or a part of it: `steps` from `first`, each on two of the six rows."""
    accumulation = Accumulation(optimizer.counts, STEPS)
    for step in range(first, first + steps):
        optimizer.step(loss_of(model, slice(step % 3 * 2, step % 3 * 2 + 2)), accumulation.share(step))
        jt.sync_all()


def weights_of_torch(wrappers: dict[str, dict], schedules: dict[str, dict]) -> dict[str, dict[str, list]]:
    """After STEPS steps of each of MMEngine's wrappers, some of them with a schedule: the weights by name."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: its optimizers cannot be run")
    weights, inputs, targets = numbers()
    plain = {name: weight.tolist() for name, weight in weights.items()}
    question = json.dumps([wrappers, schedules, plain, [inputs.tolist(), targets.tolist()], STEPS])
    done = subprocess.run([sys.executable, "-c", TORCH], input=question, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, list]] = json.loads(done.stdout.split("RESULT")[1])
    return found


def assert_equal(model: Model, expected: dict[str, Any]) -> None:
    """Weights are torch's: float32 on both sides; products and squares are summed in another order, and the steps add
    it up."""
    ours = model.state_dict(to="numpy")
    for parameter, theirs in expected.items():
        np.testing.assert_allclose(ours[parameter], theirs, rtol=1e-6, atol=1e-6, err_msg=parameter)
