"""The learning rate at every step of a run, from MMEngine's ``param_scheduler`` list.

Each of mmengine's schedulers changes the current rate by an affine map of it and of the base rate, so at every step

    rate = scale[step] * base * multiplier + offset[step]

with one table for all parameter groups (``offset`` is not 0 only under an absolute ``eta_min``).
The table is computed once for the whole run: a pure function of the step, nothing to save in a checkpoint.

When a scheduler moves (mmengine's order; in its own range ``begin <= time < end`` only)::

    before step 0    all, in the order of the config
    after a step     those with by_epoch=False, then, where an epoch ends, those with by_epoch=True

``convert_to_iter_based=True`` turns a scheduler's epochs into steps. To MMEngine a run of IterBasedTrainLoop is one
epoch, where a schedule that counts epochs would never move: it is refused.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from mmengine.config import Config

from shared.config import section
from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import check_keys, check_number, check_type
from shared.train_loop import TrainLoop

# time since the scheduler's begin -> (factor, per_base, constant): rate <- factor * rate + per_base * base + constant
Move = Callable[[int], tuple[float, float, float]]


class _Scheduler(NamedTuple):
    by_epoch: bool
    begin: int
    end: int
    move: Move


class Schedule:
    """The learning rates of a run's steps."""

    def __init__(self, param_scheduler: list[dict] | dict | None, base: float, steps_per_epoch: int, loop: TrainLoop):
        """`param_scheduler` as MMEngine takes it: one dict is a list of one, None leaves the rate as it is; `base` is
        the optimizer's ``lr``.

        Raises:
            UserError: an unknown type or key (the nearest known one is named), a number out of its range, or epochs
                where the loop counts none.
        """
        self._base = base
        listed = param_scheduler if isinstance(param_scheduler, list | tuple) else [param_scheduler]
        schedulers = [
            _read(f"param_scheduler[{i}]", config, steps_per_epoch, loop)
            for i, config in enumerate(listed)
            if config is not None
        ]
        in_order = [s for s in schedulers if not s.by_epoch] + [s for s in schedulers if s.by_epoch]
        steps = loop.total_steps(steps_per_epoch)
        self._scale, self._offset = np.empty(steps), np.empty(steps)
        scale, offset = 1.0, 0.0
        for step in range(steps):
            epoch, within = divmod(step, steps_per_epoch)
            for by_epoch, begin, end, move in in_order if step else schedulers:
                if by_epoch and within:
                    continue
                time = epoch if by_epoch else step
                if begin <= time < end:
                    factor, per_base, constant = move(time - begin)
                    scale, offset = factor * scale + per_base, factor * offset + constant
            self._scale[step], self._offset[step] = scale, offset

    def rate(self, step: int, multiplier: float = 1.0) -> float:
        """The learning rate at the global 0-based `step` of parameters whose ``lr_mult`` is `multiplier`."""
        return float(self._scale[step] * self._base * multiplier + self._offset[step])


def rate_factor(config: Config) -> tuple[float, str]:
    """By how much ``auto_scale_lr`` multiplies all learning rates, and a line that says so, empty where it is off:
    MMEngine's ``Runner.scale_lr``, for the one process that trains.

    Raises:
        UserError: it is enabled, and there is no ``base_batch_size``.
    """
    rules = config.get("auto_scale_lr") or {}
    if not rules.get("enable", False):
        return 1.0, ""
    base = rules.get("base_batch_size")
    if base is None:
        raise UserError("config key 'auto_scale_lr.base_batch_size' is missing: give the batch that lr is meant for")
    batch = section(config, "train_dataloader").batch_size
    factor = float(batch) / float(base)
    return factor, f"auto_scale_lr: lr times {batch} / {base} = {factor:g} (batch_size / base_batch_size)"


def _read(where: str, config: dict, steps_per_epoch: int, loop: TrainLoop) -> _Scheduler:
    """One scheduler, with the defaults that mmengine's Runner sets, counted in steps where it is converted to steps."""
    if not isinstance(config, dict):
        raise UserError(f"{where}: expected a dict with 'type', found {type(config).__name__}")
    if config.get("type") is None:
        raise UserError(f"{where}.type is missing: give one of {', '.join(_TYPES)}")
    kind = check_type(where, class_name(config["type"]), tuple(_TYPES))
    make, keys = _TYPES[kind]
    check_keys(where, config, ("type", "by_epoch", "begin", "end", "convert_to_iter_based", *keys, *_WITHOUT_EFFECT))
    if config.get("last_step", -1) != -1:
        raise UserError(f"{where}.last_step={config['last_step']!r}: a schedule starts at the first step; remove it")
    by_epoch = config.get("by_epoch", True)
    begin = check_number(f"{where}.begin", config.get("begin", 0), 0)
    length = loop.length if by_epoch and loop.by_epoch else 1 if by_epoch else loop.total_steps(steps_per_epoch)
    end = check_number(f"{where}.end", config.get("end", length), 0)
    if end <= begin:
        raise UserError(f"{where}: end={end} must be larger than begin={begin}")
    unit = 1
    if config.get("convert_to_iter_based", False):
        if not by_epoch:
            raise UserError(f"{where}: convert_to_iter_based=True converts epochs to steps, so it needs by_epoch=True")
        by_epoch, unit = False, steps_per_epoch
    if by_epoch and not loop.by_epoch:
        raise UserError(
            f"{where} counts epochs (by_epoch=True, the default), and IterBasedTrainLoop has none: set by_epoch=False "
            "and count steps"
        )
    begin, end = int(begin * unit), int(end * unit)
    return _Scheduler(by_epoch, begin, end, make(where, config, end - begin, unit))


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
    """``factor`` until time ``length - 1``, which has the full rate again (mmengine's ConstantParamScheduler)."""
    factor = check_number(f"{where}.factor", config.get("factor", 1.0 / 3), 0, 1, above=True)
    factors = {length - 1: 1.0 / factor, 0: factor}
    return lambda time: (factors.get(time, 1.0), 0.0, 0.0)


def _multi_step(where: str, config: dict, _length: int, unit: int) -> Move:
    """Times ``gamma`` at each of the ``milestones``, counted from ``begin`` (mmengine's MultiStepParamScheduler)."""
    if "milestones" not in config:
        raise UserError(
            f"{where}.milestones is missing: give the epochs at which the rate drops, e.g. milestones=[8, 11]"
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


_WITHOUT_EFFECT = ("verbose", "last_step", "_scope_")
# type -> (maker of the move, its own keys)
_TYPES = {
    "LinearLR": (_linear, ("start_factor", "end_factor")),
    "ConstantLR": (_constant, ("factor",)),
    "MultiStepLR": (_multi_step, ("milestones", "gamma")),
    "CosineAnnealingLR": (_cosine, ("T_max", "eta_min", "eta_min_ratio")),
    "CosineRestartLR": (_restarts, ("periods", "restart_weights", "eta_min", "eta_min_ratio")),
    "ExponentialLR": (_exponential, ("gamma",)),
    "PolyLR": (_polynomial, ("eta_min", "power")),
    "QuadraticWarmupLR": (_quadratic, ()),
    "StepLR": (_step, ("step_size", "gamma")),
}
