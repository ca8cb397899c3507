"""How each of MMEngine's schedulers, and MMDetection's one, moves the learning rate, or the momentum.

A move gives, for the time since the scheduler's begin, (factor, per_base, constant):

    value <- factor * value + per_base * base + constant

A maker takes the scheduler's place in the config, its config, its length, and how many of the length's units of time
are one of the config's: the steps of an epoch where epochs were converted to steps, else 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from shared.errors import UserError
from shared.keys import SWITCH, check_number, one_of

Move = Callable[[int], tuple[float, float, float]]


def _linear(where: str, config: dict, length: int, _unit: int) -> Move:
    """From ``start_factor`` to ``end_factor``, reached at time ``length - 1`` (mmengine's LinearParamScheduler)."""
    first = check_number(f"{where}.start_factor", config.get("start_factor", 1.0 / 3), 0, 1, above=True)
    last = check_number(f"{where}.end_factor", config.get("end_factor", 1.0), 0, 1)

    def move(time: int) -> tuple[float, float, float]:
        if time == 0:
            return first, 0.0, 0.0
        return 1.0 + (last - first) / ((length - 1) * first + (time - 1) * (last - first)), 0.0, 0.0

    return move


def _constant(where: str, config: dict, length: int, _unit: int) -> Move:
    """``factor`` until time ``length - 1``, which has the full value again (mmengine's ConstantParamScheduler)."""
    factor = check_number(f"{where}.factor", config.get("factor", 1.0 / 3), 0, 1, above=True)
    factors = {length - 1: 1.0 / factor, 0: factor}
    return lambda time: (factors.get(time, 1.0), 0.0, 0.0)


def _multi_step(where: str, config: dict, _length: int, unit: int) -> Move:
    """Times ``gamma`` at each of the ``milestones``, counted from ``begin`` (mmengine's MultiStepParamScheduler)."""
    if "milestones" not in config:
        raise UserError(
            f"{where}.milestones is missing: give the epochs at which the value drops, e.g. milestones=[8, 11]"
        )
    gamma = check_number(f"{where}.gamma", config.get("gamma", 0.1), 0)
    milestones = Counter(
        check_number(f"{where}.milestones[{i}]", milestone, 0) * unit
        for i, milestone in enumerate(config["milestones"])
    )
    return lambda time: (gamma ** milestones[time], 0.0, 0.0)


def _cosine(where: str, config: dict, length: int, unit: int) -> Move:
    """Half a cosine to ``eta_min`` or ``eta_min_ratio * base`` at ``T_max`` (CosineAnnealingParamScheduler)."""
    if config.get("eta_min") is not None and config.get("eta_min_ratio") is not None:
        raise UserError(f"{where}: give eta_min or eta_min_ratio, not both")
    period = check_number(f"{where}.T_max", (config.get("T_max") or 0) * unit or length, 0)
    floor = check_number(f"{where}.eta_min", config.get("eta_min") or 0.0, 0)
    ratio = check_number(f"{where}.eta_min_ratio", config.get("eta_min_ratio") or 0.0, 0, 1)

    def move(time: int) -> tuple[float, float, float]:
        if time == 0:
            return 1.0, 0.0, 0.0
        if (time - 1 - period) % (2 * period) == 0:  # leaving the minimum, where the quotient below is 0 / 0
            rise = (1 - math.cos(math.pi / period)) / 2
            return 1.0, rise * (1 - ratio), -rise * floor
        factor = (1 + math.cos(math.pi * time / period)) / (1 + math.cos(math.pi * (time - 1) / period))
        return factor, (1 - factor) * ratio, (1 - factor) * floor

    return move


def _exponential(where: str, config: dict, _length: int, _unit: int) -> Move:
    """Times ``gamma`` every time but the first (mmengine's ExponentialParamScheduler)."""
    gamma = check_number(f"{where}.gamma", config.get("gamma"), 0)
    return lambda time: (gamma if time else 1.0, 0.0, 0.0)


def _step(where: str, config: dict, _length: int, unit: int) -> Move:
    """Times ``gamma`` every ``step_size`` (mmengine's StepParamScheduler)."""
    size = check_number(f"{where}.step_size", config.get("step_size"), 0, above=True) * unit
    gamma = check_number(f"{where}.gamma", config.get("gamma", 0.1), 0)
    return lambda time: (1.0 if time == 0 or time % size else gamma, 0.0, 0.0)


def _polynomial(where: str, config: dict, length: int, _unit: int) -> Move:
    """To ``eta_min`` at time ``length - 1``, by a power of what is left (mmengine's PolyParamScheduler)."""
    floor = check_number(f"{where}.eta_min", config.get("eta_min", 0.0), 0)
    power = check_number(f"{where}.power", config.get("power", 1.0), 0)

    def move(time: int) -> tuple[float, float, float]:
        if time == 0:
            return 1.0, 0.0, 0.0
        factor = (1 - 1 / (length - time)) ** power
        return factor, 0.0, (1 - factor) * floor

    return move


def _quadratic(_where: str, _config: dict, length: int, _unit: int) -> Move:
    """Up from 0 by the square of the time (MMDetection's QuadraticWarmupParamScheduler)."""
    return lambda time: (float(time > 0), (2 * time + 1) / length**2, 0.0)


def _restarts(where: str, config: dict, _length: int, unit: int) -> Move:
    """A cosine for each of ``periods``, from its weight of the base (mmengine's CosineRestartParamScheduler)."""
    periods = [
        check_number(f"{where}.periods[{i}]", period, 0, above=True) * unit
        for i, period in enumerate(config.get("periods") or ())
    ]
    weights = [
        check_number(f"{where}.restart_weights[{i}]", weight, 0)
        for i, weight in enumerate(config.get("restart_weights", (1,)))
    ]
    if not periods or len(periods) != len(weights):
        raise UserError(f"{where}: {len(periods)} periods and {len(weights)} restart_weights; give one of each")
    if (config.get("eta_min") is None) == (config.get("eta_min_ratio") is None):
        raise UserError(f"{where}: give eta_min or eta_min_ratio, one of them")
    floor = check_number(f"{where}.eta_min", config.get("eta_min") or 0.0, 0)
    ratio = check_number(f"{where}.eta_min_ratio", config.get("eta_min_ratio") or 0.0, 0, 1)
    ends = np.cumsum(periods)

    def move(time: int) -> tuple[float, float, float]:
        number = int(np.searchsorted(ends, time, side="right"))
        if number == len(periods):
            return 1.0, 0.0, 0.0
        period = periods[number]
        within = time - (float(ends[number - 1]) if number else 0)
        if within == 0:
            return 0.0, weights[number], 0.0
        factor = (1 + math.cos(math.pi * within / period)) / (1 + math.cos(math.pi * (within - 1) / period))
        return factor, (1 - factor) * ratio, (1 - factor) * floor

    return move


def _one_cycle(where: str, config: dict, length: int, unit: int) -> Move:
    """Up to ``eta_max`` and far down, whatever the optimizer's rate is (mmengine's OneCycleParamScheduler)."""
    top = check_number(f"{where}.eta_max", config.get("eta_max"), 0, above=True)
    total = check_number(f"{where}.total_steps", (config.get("total_steps") or 0) * unit or length, 1)
    share = check_number(f"{where}.pct_start", config.get("pct_start", 0.3), 0, 1)
    first = top / check_number(f"{where}.div_factor", config.get("div_factor", 25.0), 0, above=True)
    last = first / check_number(f"{where}.final_div_factor", config.get("final_div_factor", 1e4), 0, above=True)
    one_of("cos", "linear").check(f"{where}.anneal_strategy", strategy := config.get("anneal_strategy", "cos"))
    SWITCH.check(f"{where}.three_phase", three := config.get("three_phase", False))
    if length - 1 > total:
        raise UserError(f"{where}: total_steps={total} is less than the {length} from its begin to its end")
    turns = [0.0, share * total - 1, *([2 * share * total - 2] if three else []), total - 1]
    rates = [first, top, *([first] if three else []), last]
    if any(start == end for start, end in pairwise(turns)):
        raise UserError(f"{where}: of {total} steps, pct_start={share} leaves none for a phase; give more of them")

    def move(time: int) -> tuple[float, float, float]:
        phase = next((i for i, end in enumerate(turns[1:-1]) if time <= end), len(turns) - 2)
        done = (time - turns[phase]) / (turns[phase + 1] - turns[phase])
        start, end = rates[phase], rates[phase + 1]
        if strategy == "linear":
            return 0.0, 0.0, (end - start) * done + start
        return 0.0, 0.0, end + (start - end) / 2.0 * (math.cos(math.pi * done) + 1)

    return move


class Scheduler(NamedTuple):
    """A kind of scheduler: what makes its move, and the keys that it has beside those of all."""

    make: Callable[[str, dict, int, int], Move]
    keys: tuple[str, ...]


ALONE = "OneCycleLR"  # sets the rate, whatever others do
RATE, MOMENTUM = "LR", "Momentum"  # what a scheduler's name ends in
SCHEDULERS = {
    "LinearLR": Scheduler(_linear, ("start_factor", "end_factor")),
    "ConstantLR": Scheduler(_constant, ("factor",)),
    "MultiStepLR": Scheduler(_multi_step, ("milestones", "gamma")),
    "CosineAnnealingLR": Scheduler(_cosine, ("T_max", "eta_min", "eta_min_ratio")),
    "CosineRestartLR": Scheduler(_restarts, ("periods", "restart_weights", "eta_min", "eta_min_ratio")),
    "ExponentialLR": Scheduler(_exponential, ("gamma",)),
    "OneCycleLR": Scheduler(
        _one_cycle,
        (
            "eta_max",
            "total_steps",
            "pct_start",
            "anneal_strategy",
            "div_factor",
            "final_div_factor",
            "three_phase",
        ),
    ),
    "PolyLR": Scheduler(_polynomial, ("eta_min", "power")),
    "QuadraticWarmupLR": Scheduler(_quadratic, ()),
    "StepLR": Scheduler(_step, ("step_size", "gamma")),
}
SCHEDULERS |= {kind.removesuffix(RATE) + MOMENTUM: one for kind, one in SCHEDULERS.items() if kind != ALONE}
