"""The training settings of MMDetection's config zoo against MMEngine and torch, which run in a process of their own.

Settings that occur several times are compared once.
"""

import contextlib
import importlib.util
import io
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from shared.errors import UserError
from shared.train_loop import TrainLoop
from tests.cluster import ROOT
from tests.trainer.training import test_optimizer
from trainer.device import jt, var
from trainer.training.optimizer import build_optimizer
from trainer.training.schedule import Schedule

ZOO = Path(str(importlib.util.find_spec("mmdet").origin)).parent / ".mim" / "configs"  # type: ignore[union-attr]
STEPS_PER_EPOCH = 60  # 12 epochs have a warm-up of 500 steps behind them
BASE, MULTIPLIER = 0.02, 0.1
UPDATES = 20
EVERY = int(os.environ.get("EVERY_CONFIG", "5"))  # config is read; 1: all, which takes a minute


@pytest.fixture(scope="module")
def zoo() -> list[Config]:
    """Configs that MMEngine can read, one of EVERY."""
    found = []
    for path in sorted(path for path in ZOO.rglob("*.py") if "_base_" not in path.parts)[::EVERY]:
        # some name files that are not there, others packages
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            found.append(Config.fromfile(path, import_custom_modules=False))
    assert len(found) > 800 // EVERY
    return found


def ask(program: str, question: list, answer: Path) -> dict[str, np.ndarray]:
    """What `program`, which reads `question` from stdin, saves as arrays in `answer`."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: it and mmengine cannot be run")
    text = json.dumps([*question, str(answer)])
    done = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return dict(np.load(answer))


MMENGINE = """
import json, sys, types, numpy, torch
from mmengine.hooks import ParamSchedulerHook
from mmengine.registry import DefaultScope, PARAM_SCHEDULERS
import mmengine.optim
from benchmarks.networks.mmcv_operators import Uncompiled
try:
    import mmcv._ext
except ImportError:
    sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")
import mmdet.engine.schedulers
DefaultScope.get_instance("zoo", scope_name="mmdet")
schedules, rates, answer = json.load(sys.stdin)
result = {}
for name, (configs, steps_per_epoch, epochs, steps) in schedules.items():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    optimizer = torch.optim.SGD(groups, lr=rates[0])
    schedulers = []
    for config in configs:
        config.setdefault("end", epochs if config.get("by_epoch", True) else steps)  # as Runner does
        defaults = dict(optimizer=optimizer, epoch_length=steps_per_epoch)
        schedulers.append(PARAM_SCHEDULERS.build(config, default_args=defaults))
    runner, hook = types.SimpleNamespace(param_schedulers=schedulers), ParamSchedulerHook()
    rows = numpy.empty((steps, len(rates)))
    optimizer.step()
    for step in range(steps):
        rows[step] = [group["lr"] for group in optimizer.param_groups]
        hook.after_train_iter(runner, step)
        if (step + 1) % (steps // epochs) == 0:
            hook.after_train_epoch(runner)
    result[name] = rows
numpy.savez(answer, **result)
"""


SHORT = 10_000  # steps
LONG = int(os.environ.get("LONG_SCHEDULES", "2"))  # how many of those with more steps are compared


@pytest.mark.parametrize("short", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["short", "long"])
def test_every_rate_of_every_schedule_equals_mmengine(short: bool, zoo: list[Config], tmp_path: Path) -> None:
    distinct: dict[str, tuple[list[dict], TrainLoop]] = {}
    for config in zoo:
        if config.get("param_scheduler") and config.get("train_cfg"):
            schedule = config.param_scheduler
            listed = json.loads(json.dumps(schedule if isinstance(schedule, list) else [schedule]))
            loop = TrainLoop.of(config.train_cfg)
            if (loop.total_steps(STEPS_PER_EPOCH) <= SHORT) == short:
                distinct[json.dumps([listed, loop.by_epoch, loop.length], sort_keys=True)] = listed, loop
    assert len(distinct) > (70 if short else 15) // EVERY
    compared = list(distinct.values()) if short else random.Random(1).sample(list(distinct.values()), LONG)
    named = {str(i): one for i, one in enumerate(compared)}
    asked = {
        name: (listed, STEPS_PER_EPOCH, loop.length if loop.by_epoch else 1, loop.total_steps(STEPS_PER_EPOCH))
        for name, (listed, loop) in named.items()
    }
    expected = ask(MMENGINE, [asked, [BASE, BASE * MULTIPLIER]], tmp_path / "rates.npz")
    for name, (schedule, loop) in named.items():
        ours = Schedule(schedule, BASE, STEPS_PER_EPOCH, loop)
        steps = range(loop.total_steps(STEPS_PER_EPOCH))
        rates = [[ours.rate(step), ours.rate(step, MULTIPLIER)] for step in steps]
        # double precision on both sides: only the order of multiplications differs; 1e-18 is for the zeros
        np.testing.assert_allclose(rates, expected[name], rtol=1e-12, atol=1e-18, err_msg=str(schedule))


TORCH = """
import json, sys, numpy, torch
from mmengine.optim import build_optim_wrapper
wrappers, weights, slopes, answer = json.load(sys.stdin)
result = {}
for number, config in wrappers.items():
    parts = {"backbone": torch.nn.Linear(5, 4), "norm": torch.nn.BatchNorm1d(4), "head": torch.nn.Linear(4, 3)}
    model = torch.nn.ModuleDict(parts)
    model.load_state_dict({key: torch.tensor(value) for key, value in weights.items()}, strict=False)
    wrapper = build_optim_wrapper(model, config)
    for slope in slopes:
        wrapper.update_params(sum((value * torch.tensor(slope[key])).sum() for key, value in model.named_parameters()))
    result |= {f"{number} {name}": value.detach().numpy() for name, value in model.named_parameters()}
numpy.savez(answer, **result)
"""


def in_float32(wrapper: dict) -> dict:
    """What half precision approximates; torch has that on a GPU alone."""
    return {key: wrapper[key] for key in wrapper if key not in ("type", "loss_scale", "dtype")} | {
        "type": "OptimWrapper"
    }


def test_twenty_updates_of_every_optimizer_section_equal_torch(zoo: list[Config], tmp_path: Path) -> None:
    """By recorded gradients, and without custom_keys, which name parts of other models."""
    distinct, refused = {}, Counter()
    for config in zoo:
        if not config.get("optim_wrapper"):
            continue
        wrapper = json.loads(json.dumps(config.optim_wrapper.to_dict()))
        (wrapper.get("paramwise_cfg") or {}).pop("custom_keys", None)
        try:
            build_optimizer(wrapper, test_optimizer.NormedModel())
        except UserError as error:
            refused[str(error).split("'")[1]] += 1
            continue
        distinct[json.dumps(wrapper, sort_keys=True)] = wrapper
    assert len(distinct) > 50 // EVERY and refused.keys() == {"optim_wrapper.constructor"}
    named = {str(i): wrapper for i, wrapper in enumerate(distinct.values())}
    weights, generator = test_optimizer.numbers()[0], np.random.default_rng(1)
    norms = {"norm.weight": np.ones(4, np.float32), "norm.bias": np.zeros(4, np.float32)}
    slopes = [
        {key: generator.normal(size=value.shape).astype(np.float32) for key, value in (weights | norms).items()}
        for _ in range(UPDATES)
    ]
    plain = [{key: value.tolist() for key, value in values.items()} for values in (weights, *slopes)]
    whole = {str(i): in_float32(wrapper) for i, wrapper in enumerate(distinct.values())}
    expected = ask(TORCH, [whole, plain[0], plain[1:]], tmp_path / "weights.npz")
    for name, wrapper in named.items():
        model = test_optimizer.NormedModel()
        for key, weight in weights.items():
            model.state_dict()[key].update(var(weight))
        optimizer = build_optimizer(wrapper, model)
        for slope in slopes:
            state = model.state_dict()
            optimizer.step(sum((state[key] * var(value)).sum() for key, value in slope.items()))
            jt.sync_all()
        for key, value in model.state_dict(to="numpy").items():
            if key in slopes[0]:
                # float32 on both sides; sums are made in another order, and the updates add it up
                np.testing.assert_allclose(
                    value, expected[f"{name} {key}"], rtol=1e-6, atol=1e-6, err_msg=f"{key} {wrapper}"
                )
