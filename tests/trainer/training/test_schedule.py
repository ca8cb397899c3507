"""The schedule of rate and momentum against mmengine's own schedulers, which need torch and a process of their own."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
from mmengine.config import Config

from shared.errors import UserError
from shared.train_loop import TrainLoop
from tests.cluster import ROOT
from trainer.training.schedule import Schedule, rate_factor

STEPS_PER_EPOCH, EPOCHS, BASE, MOMENTUM = 20, 12, 0.02, 0.9
LOOP = TrainLoop.of({"max_epochs": EPOCHS})
WARM_UP = {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 50}
SCHEDULES = {
    "none": [],
    "UniDetector's warm-up and steps": [
        WARM_UP,
        {"type": "MultiStepLR", "begin": 0, "end": 12, "by_epoch": True, "milestones": [8, 11], "gamma": 0.1},
    ],
    "repeated milestones in steps": [
        {"type": "MultiStepLR", "by_epoch": False, "milestones": [7, 7, 100], "gamma": 0.5}
    ],
    "milestones converted to steps": [
        {"type": "MultiStepLR", "begin": 2, "milestones": [3, 6], "convert_to_iter_based": True}
    ],
    "warm-up by epoch": [{"type": "LinearLR", "start_factor": 0.1, "end": 5}],
    "warm-up by epoch converted to steps": [
        {"type": "LinearLR", "start_factor": 0.1, "begin": 1, "end": 5, "convert_to_iter_based": True}
    ],
    "linear decay to 0": [{"type": "LinearLR", "start_factor": 1.0, "end_factor": 0.0, "by_epoch": False}],
    "constant": [{"type": "ConstantLR", "factor": 0.25, "begin": 1, "end": 4}, {"type": "ConstantLR", "end": 1}],
    "cosine by epoch": [{"type": "CosineAnnealingLR", "eta_min": 1e-5}],
    "cosine in steps after a warm-up": [
        WARM_UP,
        {
            "type": "CosineAnnealingLR",
            "begin": 6,
            "end": 12,
            "T_max": 6,
            "eta_min": 1e-4,
            "convert_to_iter_based": True,
        },
    ],
    "cosine over a warm-up, up again after its minimum": [
        {"type": "CosineAnnealingLR", "T_max": 90, "by_epoch": False, "eta_min_ratio": 0.05},
        WARM_UP,
    ],
    "exponential": [{"type": "ExponentialLR", "gamma": 0.9, "begin": 2, "end": 9}],
    "exponential converted to steps": [{"type": "ExponentialLR", "gamma": 0.99, "convert_to_iter_based": True}],
    "every third epoch": [{"type": "StepLR", "step_size": 3, "begin": 1}],
    "every second epoch converted to steps": [
        {"type": "StepLR", "step_size": 2, "gamma": 0.5, "convert_to_iter_based": True}
    ],
    "polynomial after a warm-up": [
        WARM_UP,
        {"type": "PolyLR", "power": 0.9, "eta_min": 1e-4, "begin": 50, "end": 240, "by_epoch": False},
    ],
    "polynomial converted to steps": [{"type": "PolyLR", "begin": 2, "convert_to_iter_based": True}],
    "quadratic warm-up before a cosine": [
        {"type": "mmdet.QuadraticWarmupLR", "begin": 0, "end": 3, "convert_to_iter_based": True},
        {"type": "CosineAnnealingLR", "begin": 3, "T_max": 9, "eta_min": 1e-3, "convert_to_iter_based": True},
    ],
    "quadratic warm-up in steps": [{"type": "mmdet.QuadraticWarmupLR", "by_epoch": False, "end": 70}],
    "cosines that restart": [
        {"type": "CosineRestartLR", "periods": [3, 4, 2], "restart_weights": [1, 0.5, 0.2], "eta_min": 1e-4}
    ],
    "cosines that restart, converted to steps": [
        {
            "type": "CosineRestartLR",
            "periods": [5, 7],
            "restart_weights": [1, 0.5],
            "eta_min_ratio": 0.01,
            "convert_to_iter_based": True,
        }
    ],
    "one cycle of steps": [{"type": "OneCycleLR", "eta_max": 0.1, "by_epoch": False}],
    "one cycle of epochs in the middle, three straight phases": [
        {
            "type": "OneCycleLR",
            "eta_max": 0.05,
            "begin": 2,
            "end": 11,
            "three_phase": True,
            "anneal_strategy": "linear",
            "div_factor": 4.0,
            "final_div_factor": 10.0,
        }
    ],
    "one cycle converted to steps, cut off": [
        {
            "type": "OneCycleLR",
            "eta_max": 0.1,
            "pct_start": 0.6,
            "total_steps": 15,
            "convert_to_iter_based": True,
        }
    ],
    "one cycle that begins at its top": [{"type": "OneCycleLR", "eta_max": 0.1, "pct_start": 0.0}],
    "cosine and steps at once": [
        {"type": "MultiStepLR", "milestones": [4], "gamma": 0.1},
        {"type": "CosineAnnealingLR", "T_max": 100, "by_epoch": False, "eta_min": 1e-3},
    ],
    "momentum: constant, then linear, in steps": [
        {"type": "ConstantMomentum", "factor": 0.5, "end": 30, "by_epoch": False},
        {"type": "LinearMomentum", "start_factor": 0.9, "end_factor": 0.2, "begin": 40, "end": 200, "by_epoch": False},
    ],
    "momentum: a cosine up, beside a rate that falls": [
        {"type": "MultiStepLR", "milestones": [4], "gamma": 0.1},
        {"type": "CosineAnnealingMomentum", "eta_min": 0.99, "convert_to_iter_based": True},
    ],
    "momentum: a cosine of epochs to a share": [{"type": "CosineAnnealingMomentum", "eta_min_ratio": 0.5, "T_max": 9}],
    "momentum: steps": [{"type": "StepMomentum", "step_size": 2, "gamma": 0.8, "begin": 1}],
    "momentum: milestones, down to 0": [{"type": "MultiStepMomentum", "milestones": [3, 7], "gamma": 0.0}],
    "momentum: exponential": [{"type": "ExponentialMomentum", "gamma": 0.99, "by_epoch": False}],
    "momentum: polynomial, beside one cycle of the rate": [
        {"type": "PolyMomentum", "power": 0.9, "eta_min": 0.5, "by_epoch": False},
        {"type": "OneCycleLR", "eta_max": 0.1, "by_epoch": False},
    ],
    "momentum: quadratic, by MMDetection": [{"type": "mmdet.QuadraticWarmupMomentum", "by_epoch": False, "end": 70}],
    "momentum: cosines that restart": [
        {"type": "CosineRestartMomentum", "periods": [3, 9], "restart_weights": [1, 0.5], "eta_min": 0.1}
    ],
}

MMENGINE = """
import json, logging, sys, types, torch
from mmengine.hooks import ParamSchedulerHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.registry import PARAM_SCHEDULERS
import mmengine.optim
from benchmarks.networks.mmcv_operators import Uncompiled
try:
    import mmcv._ext
except ImportError:
    sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")
import mmdet.engine.schedulers
schedules, steps_per_epoch, epochs, rates, momentum, max_iters, rules = json.load(sys.stdin)
def groups():
    return [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
result = {}
for name, configs in schedules.items():
    sgd, adam = torch.optim.SGD(groups(), momentum=momentum), torch.optim.Adam(groups(), betas=(momentum, 0.999))
    schedulers = []
    for config in configs:
        # as Runner does; to IterBasedTrainLoop, all is one epoch
        length = (1, max_iters) if max_iters else (epochs, epochs * steps_per_epoch)
        config.setdefault("end", length[0] if config.get("by_epoch", True) else length[1])
        for optimizer in (sgd, adam):
            defaults = dict(optimizer=optimizer, epoch_length=steps_per_epoch)
            schedulers.append(PARAM_SCHEDULERS.build(config, default_args=defaults))
    runner, hook, rows = types.SimpleNamespace(param_schedulers=schedulers), ParamSchedulerHook(), []
    for epoch in range(1 if max_iters else epochs):
        for step in range(max_iters or steps_per_epoch):
            momenta = [group["momentum"] for group in sgd.param_groups]
            betas = [group["betas"][0] for group in adam.param_groups]
            rows.append([group["lr"] for group in sgd.param_groups] + momenta + betas)
            sgd.step()
            adam.step()
            hook.after_train_iter(runner, step)
        hook.after_train_epoch(runner)
    result[name] = rows
scaled = []
for ranks, batch, counts, base in rules:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rates[0])
    wrapper = OptimWrapper(optimizer, accumulative_counts=counts)
    runner = types.SimpleNamespace(
        world_size=ranks, _train_dataloader={"batch_size": batch}, param_schedulers=[], logger=logging.getLogger()
    )
    Runner.scale_lr(runner, wrapper, {"enable": True, "base_batch_size": base})
    scaled.append(wrapper.get_lr()["lr"][0])
print("RESULT" + json.dumps([result, scaled]))
"""


SCALED = [(1, 2, 1, 16), (1, 2, 4, 16), (8, 2, 1, 16), (3, 4, 2, 64), (5, 7, 1, 48)]  # ranks, batch, counts, base
ITERATIONS = 130  # no whole number of epochs
IN_STEPS = {
    "the zoo's warm-up and steps": [WARM_UP, {"type": "MultiStepLR", "by_epoch": False, "milestones": [80, 110]}],
    "without an end, to the last step": [{"type": "LinearLR", "end_factor": 0.0, "by_epoch": False}],
    "converted from epochs of the data": [
        {"type": "MultiStepLR", "end": 6, "milestones": [2, 5], "convert_to_iter_based": True}
    ],
    "converted, without an end, for one epoch of the data": [
        {"type": "CosineAnnealingLR", "eta_min": 1e-4, "convert_to_iter_based": True}
    ],
    "momentum, without an end": [{"type": "CosineAnnealingMomentum", "eta_min": 0.5, "by_epoch": False}],
}


def values(schedule: Schedule, steps: int) -> list[list[float]]:
    """What MMEngine has of two groups, the second with a tenth of the rate: rates, momenta, first betas."""
    return [
        [schedule.rate(step), schedule.rate(step, 0.1), *[schedule.momentum(step, MOMENTUM)] * 4]
        for step in range(steps)
    ]


def ask_mmengine(
    schedules: dict[str, list[dict]], max_iters: int | None
) -> tuple[dict[str, list[list[float]]], list[float]]:
    """Every step's rates, momenta and first betas of two groups, by schedule; and the base rates of `SCALED`."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: mmengine's schedulers cannot be run")
    question = json.dumps([schedules, STEPS_PER_EPOCH, EPOCHS, [BASE, BASE * 0.1], MOMENTUM, max_iters, SCALED])
    done = subprocess.run([sys.executable, "-c", MMENGINE], input=question, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[1])


@pytest.fixture(scope="module")
def mmengine_answers() -> tuple[dict[str, list[list[float]]], list[float]]:
    return ask_mmengine(SCHEDULES, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_rate_and_momentum_of_a_run_equals_mmengine(name: str, mmengine_answers: tuple) -> None:
    schedule = Schedule(SCHEDULES[name], BASE, STEPS_PER_EPOCH, LOOP)
    ours = values(schedule, STEPS_PER_EPOCH * EPOCHS)
    # double precision on both sides: only the order of a few hundred multiplications differs; 1e-18 is for the zeros
    np.testing.assert_allclose(ours, mmengine_answers[0][name], rtol=1e-12, atol=1e-18)


@pytest.mark.slow
def test_every_rate_of_a_run_that_counts_steps_equals_mmengine() -> None:
    loop = TrainLoop.of({"by_epoch": False, "max_iters": ITERATIONS})
    for name, expected in ask_mmengine(IN_STEPS, ITERATIONS)[0].items():
        schedule = Schedule(IN_STEPS[name], BASE, STEPS_PER_EPOCH, loop)
        ours = values(schedule, ITERATIONS)
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-18, err_msg=name)
        assert len(set(map(tuple, ours))) > 2


def test_a_schedule_of_epochs_in_a_run_that_counts_steps_is_refused() -> None:
    loop = TrainLoop.of({"type": "IterBasedTrainLoop", "max_iters": 100})
    with pytest.raises(UserError, match=r"param_scheduler\[1\] counts epochs .* set by_epoch=False"):
        Schedule([WARM_UP, {"type": "MultiStepLR", "milestones": [8, 11]}], BASE, STEPS_PER_EPOCH, loop)


def test_the_rate_is_a_pure_function_of_the_step() -> None:
    config = SCHEDULES["cosine and steps at once"]
    first, second = Schedule(config, BASE, STEPS_PER_EPOCH, LOOP), Schedule(config, BASE, STEPS_PER_EPOCH, LOOP)
    forwards = [first.rate(step) for step in range(240)]
    assert forwards == [second.rate(step) for step in reversed(range(240))][::-1]


def test_a_warm_up_that_ends_one_step_later_gives_the_formula_of_mmdetection_2() -> None:
    schedule = Schedule([WARM_UP | {"end": 501}], BASE, 600, TrainLoop.of({"max_epochs": 1}))
    expected = [BASE * (1 - (1 - step / 500) * 0.999) for step in range(500)] + [BASE] * 100
    np.testing.assert_allclose([schedule.rate(step) for step in range(600)], expected, rtol=1e-9)
    assert schedule.rate(49) == pytest.approx(1.978e-3, rel=1e-3)  # the 50th iteration in the authors' logs


def test_one_dict_is_a_list_of_one_and_none_leaves_the_rate_as_it_is() -> None:
    def rates(config: list[dict] | dict | None) -> list[float]:
        schedule = Schedule(config, BASE, STEPS_PER_EPOCH, LOOP)
        return [schedule.rate(step) for step in range(STEPS_PER_EPOCH * EPOCHS)]

    assert rates(WARM_UP) == rates([WARM_UP]) == rates([WARM_UP | {"verbose": True, "last_step": -1}]) != rates([])
    assert rates([WARM_UP | {"type": "mmengine.LinearLR"}]) == rates([WARM_UP])
    assert rates(None) == rates([]) == [BASE] * (STEPS_PER_EPOCH * EPOCHS)


def factor_of(ranks: int, batch: int, counts: int = 1, **rules: object) -> tuple[float, str]:
    wrapper = {"accumulative_counts": counts}
    loader = {"batch_size": batch}
    return rate_factor(Config({"train_dataloader": loader, "auto_scale_lr": rules, "optim_wrapper": wrapper}), ranks)


def test_auto_scale_lr_counts_ranks_and_says_so() -> None:
    assert factor_of(1, 2, enable=True, base_batch_size=16) == (
        0.125,
        "auto_scale_lr: lr times 1 x 2 / 16 = 0.125 (ranks x batch_size / base_batch_size)",
    )
    assert factor_of(4, 2, counts=3, enable=True, base_batch_size=16) == (
        0.5,
        "auto_scale_lr: lr times 4 x 2 / 16 = 0.5 (ranks x batch_size / base_batch_size; accumulative_counts=3 does "
        "not count, as in MMEngine)",
    )
    with pytest.raises(UserError, match=r"auto_scale_lr\.base_batch_size' is missing"):
        factor_of(1, 2, enable=True)


def test_auto_scale_lr_is_off_unless_it_is_switched_on() -> None:
    for rules in ({"enable": False, "base_batch_size": 16}, {"base_batch_size": 16}, {}):
        assert factor_of(4, 2, **rules) == (1.0, "")
    assert rate_factor(Config(), 4) == (1.0, "")


@pytest.mark.slow
def test_auto_scale_lr_is_what_mmengines_runner_makes_of_it(mmengine_answers: tuple) -> None:
    for (ranks, batch, counts, base), expected in zip(SCALED, mmengine_answers[1], strict=True):
        assert BASE * factor_of(ranks, batch, counts, enable=True, base_batch_size=base)[0] == expected
    assert len(set(mmengine_answers[1])) == len(SCALED) - 1, "accumulation alone changes nothing"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"optimizer": {}}, "param_scheduler[0].type is missing"),
        ({"type": "LinearLR", "last_step": 5}, "last_step=5: a schedule starts at the first step"),
        ({"type": "LinarLR"}, "param_scheduler[0]: unknown type 'LinarLR' (did you mean 'LinearLR'?)"),
        ({"type": "MultiStepLR", "milestone": [8]}, "unknown key 'milestone' (did you mean 'milestones'?)"),
        ({"type": "MultiStepLR"}, "param_scheduler[0].milestones is missing"),
        ({"type": "LinearLR", "start_factor": 0}, "start_factor=0: expected a number above 0 and at most 1"),
        ({"type": "LinearLR", "begin": 5, "end": 5}, "end=5 must be larger than begin=5"),
        ({"type": "LinearLR", "by_epoch": False, "convert_to_iter_based": True}, "needs by_epoch=True"),
        ({"type": "CosineAnnealingLR", "eta_min": 0.1, "eta_min_ratio": 0.1}, "eta_min or eta_min_ratio, not both"),
        ({"type": "OneCycleMomentum"}, "unknown type 'OneCycleMomentum' (did you mean"),
        ({"type": "StepMomentum", "stepsize": 2}, "unknown key 'stepsize' (did you mean 'step_size'?)"),
        ({"type": "OneCycleLR"}, "param_scheduler[0].eta_max=None: expected a number above 0"),
        ({"type": "OneCycleLR", "eta_max": 0.1, "anneal_strategy": "cosine"}, "'cosine'; expected 'cos' or 'linear'"),
        ({"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 5}, "total_steps=5 is less than the 12 from its begin"),
        ({"type": "OneCycleLR", "eta_max": 0.1, "pct_start": 1 / 12}, "leaves none for a phase; give more of them"),
        ({"type": "CosineAnnealingLR", "eta_min": "1e-5"}, "eta_min='1e-5': expected a number at least 0"),
    ],
)
def test_a_mistake_in_the_config_is_named(config: dict, text: str) -> None:
    with pytest.raises(UserError) as caught:
        Schedule([config], BASE, STEPS_PER_EPOCH, LOOP)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_cycle_is_the_only_scheduler_of_the_rate() -> None:
    with pytest.raises(UserError, match="OneCycleLR sets the rate whatever others do; let it be the only one for it"):
        Schedule([WARM_UP, {"type": "OneCycleLR", "eta_max": 0.1}], BASE, STEPS_PER_EPOCH, LOOP)
