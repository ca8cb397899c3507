"""When learning rate and momentum fall, and how far, against MMEngine's ReduceOnPlateauLR and ReduceOnPlateauMomentum,
which need torch and a process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
from mmengine.config import Config

from shared.errors import UserError
from shared.train_loop import TrainLoop
from trainer.training.plateau import Plateaus
from trainer.training.schedule import Schedule

NAN = float("nan")
MONITOR = "coco/bbox_mAP"
STEPS_PER_EPOCH, BASE, MULTIPLIERS, MOMENTUM = 3, 0.02, (1.0, 0.1), 0.9
STEPS = {"type": "MultiStepLR", "milestones": [4, 9], "gamma": 0.5}
COSINE = {"type": "CosineAnnealingLR", "T_max": 36, "by_epoch": False, "eta_min": 1e-3}
SETTINGS = {
    "defaults, less is better": ([{}], [STEPS]),
    "impatient": ([{"patience": 0, "factor": 0.5}], [COSINE]),
    "by what is gained in all": ([{"rule": "greater", "threshold": 0.05, "threshold_rule": "abs", "patience": 1}], []),
    "by a share": ([{"rule": "greater", "threshold": 0.2, "patience": 1, "factor": 0.3}], [STEPS, COSINE]),
    "less, in all": ([{"rule": "less", "threshold": 0.05, "threshold_rule": "abs", "patience": 1}], [COSINE]),
    "with a cooldown": ([{"rule": "greater", "patience": 0, "cooldown": 2, "factor": 0.7}], []),
    "not below": ([{"rule": "greater", "patience": 0, "factor": 0.5, "min_value": 1.5e-3}], [STEPS]),
    "not by less": ([{"rule": "greater", "patience": 0, "factor": 0.5, "eps": 3e-3}], []),
    "in some epochs": ([{"rule": "greater", "patience": 1, "begin": 3, "end": 8}], [STEPS]),
    "two of them": ([{"patience": 2}, {"rule": "greater", "patience": 3, "factor": 0.9, "cooldown": 1}], [COSINE]),
    "the momentum alone": (
        [{"type": "ReduceOnPlateauMomentum", "patience": 0, "factor": 0.5, "min_value": 0.2}],
        [{"type": "LinearMomentum", "start_factor": 0.5, "end": 6}],
    ),
    "rate and momentum": (
        [{"patience": 0, "factor": 0.5}, {"type": "ReduceOnPlateauMomentum", "rule": "greater", "patience": 1}],
        [COSINE, {"type": "CosineAnnealingMomentum", "eta_min": 0.95}],
    ),
}
RUNS = [
    [0.1, 0.2, 0.3, 0.3, 0.3, 0.31, 0.3, 0.2, 0.25, 0.3, 0.31, 0.3],
    [0.3, 0.25, 0.2, 0.22, 0.24, 0.19, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
    [0.1, NAN, 0.1, 0.2, 0.1, NAN, 0.1, 0.4, 0.1, 0.1, 0.1, 0.1],
]

MMENGINE = """
import json, sys, types, torch
from mmengine.hooks import ParamSchedulerHook
from mmengine.registry import PARAM_SCHEDULERS
import mmengine.optim
schedules, runs, monitor, steps_per_epoch, rates, momentum = json.load(sys.stdin)
result = {}
for name, configs in schedules.items():
    for number, scores in enumerate(runs):
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
        optimizer = torch.optim.SGD(groups, momentum=momentum)
        schedulers = []
        for config in configs:
            length = len(scores) * (1 if config.get("by_epoch", True) else steps_per_epoch)
            schedulers.append(PARAM_SCHEDULERS.build({"end": length, **config}, default_args=dict(optimizer=optimizer)))
        runner, hook, rows = types.SimpleNamespace(param_schedulers=schedulers), ParamSchedulerHook(), []
        for score in scores:
            for step in range(steps_per_epoch):
                rows.append([group[key] for key in ("lr", "momentum") for group in optimizer.param_groups])
                optimizer.step()
                hook.after_train_iter(runner, step)
            hook.after_train_epoch(runner)
            hook.after_val_epoch(runner, {monitor: score})
        result[f"{name} {number}"] = rows
print("RESULT" + json.dumps(result))
"""


def schedulers_of(name: str) -> list[dict]:
    plateaus, others = SETTINGS[name]
    return [*({"type": "ReduceOnPlateauLR", "monitor": MONITOR, **one} for one in plateaus), *others]


def of(schedulers: list[dict] | dict, **train_cfg: object) -> Plateaus:
    return Plateaus(Config({"param_scheduler": schedulers, "train_cfg": train_cfg or {"max_epochs": 12}}))


@pytest.fixture(scope="module")
def mmengine() -> dict[str, list[list[float]]]:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: mmengine's schedulers cannot be run")
    schedules = {name: schedulers_of(name) for name in SETTINGS}
    question = json.dumps([schedules, RUNS, MONITOR, STEPS_PER_EPOCH, [BASE * one for one in MULTIPLIERS], MOMENTUM])
    done = subprocess.run([sys.executable, "-c", MMENGINE], input=question, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_every_value_of_a_run_and_of_one_that_is_resumed_equals_mmengine(name: str, mmengine: dict) -> None:
    schedulers = schedulers_of(name)
    loop = TrainLoop.of({"max_epochs": len(RUNS[0])})
    falls = 0
    for number, scores in enumerate(RUNS):
        for resumed in (None, 5):
            plateaus = of(schedulers)
            schedule = Schedule(schedulers, BASE, STEPS_PER_EPOCH, loop)
            rows = []
            for epoch, score in enumerate(scores):
                if epoch == resumed:
                    state = json.loads(json.dumps(plateaus.state))
                    plateaus = of(schedulers)
                    plateaus.resume(state)
                    schedule = Schedule(schedulers, BASE, STEPS_PER_EPOCH, loop, plateaus.cuts)
                steps = range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH)
                for step in steps:
                    momentum = schedule.momentum(step, MOMENTUM)
                    rows.append([*(schedule.rate(step, one) for one in MULTIPLIERS), momentum, momentum])
                said = plateaus.take({MONITOR: score}, epoch + 1, steps.stop)
                falls += bool(said)
                schedule.cut(plateaus.cuts)
            # double precision on both sides: only the order of multiplications differs
            np.testing.assert_allclose(rows, mmengine[f"{name} {number}"], rtol=1e-12, err_msg=str(scores))
    assert falls or name.startswith("defaults")


def test_with_a_run_that_counts_steps_it_is_the_first_epoch_to_the_end() -> None:
    plateau = {"type": "ReduceOnPlateauLR", "monitor": MONITOR, "patience": 0, "end": 1}
    for train_cfg, cuts in (({"type": "IterBasedTrainLoop", "max_iters": 90}, [60]), ({"max_epochs": 3}, [])):
        plateaus = of(plateau, **train_cfg)
        for epoch in (1, 2):
            plateaus.take({MONITOR: 0.5}, epoch, 30 * epoch)
        assert [cut.step for cut in plateaus.cuts] == cuts


def test_a_metric_that_is_not_there_is_named_with_what_is() -> None:
    plateaus = of({"type": "mmengine.ReduceOnPlateauLR", "monitor": "coco/bbox_mAp"})
    with pytest.raises(
        UserError, match=r"param_scheduler\[0\]\.monitor: unknown metric .* \(did you mean 'coco/bbox_mAP'"
    ):
        plateaus.take({MONITOR: 0.1}, 1, 3)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"monitor": None}, r"param_scheduler\[1\]\.monitor is None; expected a metric's name"),
        ({"factor": 1.0}, r"param_scheduler\[1\]\.factor=1\.0: expected less than 1"),
        ({"by_epoch": False}, r"param_scheduler\[1\]\.by_epoch is False; evaluations are what counts: remove it"),
        ({"begin": 3, "end": 3}, r"param_scheduler\[1\]: end=3 must be larger than begin=3"),
        ({"last_step": 5}, r"param_scheduler\[1\]\.last_step=5: it starts at the first step; remove it"),
        ({"rule": "more"}, r"param_scheduler\[1\]\.rule is 'more'; expected 'greater' or 'less'"),
        ({"threshold_rule": "all"}, r"param_scheduler\[1\]\.threshold_rule is 'all'; expected 'rel' or 'abs'"),
        ({"min_value": [0.1, 0.2]}, r"param_scheduler\[1\]\.min_value=\[0\.1, 0\.2\]: expected a number at least 0"),
        ({"patiense": 1}, r"param_scheduler\[1\]: unknown key 'patiense' \(did you mean 'patience'\?\)"),
    ],
)
def test_a_mistake_is_refused_by_name(keys: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        of([STEPS, {"type": "ReduceOnPlateauLR", "monitor": MONITOR, **keys}])


def test_without_a_monitor_it_is_refused() -> None:
    with pytest.raises(UserError, match=r"'param_scheduler\[0\]\.monitor' is missing: give the name of a metric"):
        of({"type": "ReduceOnPlateauLR"})
