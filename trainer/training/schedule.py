"""The learning rate and the momentum at every step of a run, from MMEngine's ``param_scheduler`` list.

Each of mmengine's schedulers changes the current value by an affine map of it and of the base value, so at every step

    rate = scale[step] * base * multiplier + offset[step]            momentum = scale[step] * base + offset[step]

with one table for all parameter groups (``offset`` is not 0 only under an absolute ``eta_min``) until ReduceOnPlateauLR
cuts the rates. These stay above a number that is the same for all groups, so then each has a table of its own: a pure
function of those cuts, which `trainer.training.plateau` decides and keeps in checkpoints. Schedulers whose names end in
``Momentum`` are the same for the momentum, which all groups share: SGD's, or the first of the betas of Adam and AdamW.

When a scheduler moves (mmengine's order; in its own range ``begin <= time < end`` only)::

    before step 0    all, in the order of the config
    after a step     those with by_epoch=False, then, where an epoch ends, those with by_epoch=True

``convert_to_iter_based=True`` turns a scheduler's epochs into steps. To MMEngine a run of IterBasedTrainLoop is one
epoch, where a schedule that counts epochs would never move: it is refused.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmengine.config import Config

from shared.config import section
from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import check_keys, check_number, check_type
from shared.train_loop import TrainLoop
from trainer.training.moves import ALONE, MOMENTUM, RATE, SCHEDULERS, Move
from trainer.training.plateau import PLATEAUS, WITHOUT_EFFECT, Cut, is_plateau

KEYS = ("by_epoch", "begin", "end", "convert_to_iter_based")  # of every scheduler


class _Scheduler(NamedTuple):
    of: str  # RATE or MOMENTUM
    by_epoch: bool
    begin: int
    end: int
    move: Move


class Schedule:
    """The learning rates and momenta of a run's steps."""

    def __init__(
        self,
        param_scheduler: list[dict] | dict | None,
        base: float,
        steps_per_epoch: int,
        loop: TrainLoop,
        cuts: Sequence[Cut] = (),
    ):
        """`param_scheduler` as MMEngine takes it: one dict is a list of one, None leaves all as it is; `base` is the
        optimizer's ``lr``; `cuts` are those of its ReduceOnPlateauLR and ReduceOnPlateauMomentum.

        Raises:
            UserError: an unknown type or key (the nearest known one is named), a number out of its range, or epochs
                where the loop counts none.
        """
        self._base, self._steps_per_epoch, self._steps = base, steps_per_epoch, loop.total_steps(steps_per_epoch)
        listed = param_scheduler if isinstance(param_scheduler, list | tuple) else [param_scheduler]
        self._schedulers = [
            _read(f"param_scheduler[{i}]", config, steps_per_epoch, loop)
            for i, config in enumerate(listed)
            if config is not None and not is_plateau(config)
        ]
        kinds = [class_name(config["type"]) for config in listed if config is not None]
        if ALONE in kinds and sum(kind.endswith(RATE) for kind in kinds) > 1:
            raise UserError(f"param_scheduler: {ALONE} sets the rate whatever others do; let it be the only one for it")
        self._cuts: list[Cut] = list(cuts)
        self._tables: dict[tuple[str, float], tuple[np.ndarray, np.ndarray]] = {}

    def cut(self, cuts: Sequence[Cut]) -> None:
        """Sets the cuts, all of them."""
        if self._cuts != cuts:
            self._cuts, self._tables = list(cuts), {}

    def rate(self, step: int, multiplier: float = 1.0) -> float:
        """The learning rate at the global 0-based `step` of parameters whose ``lr_mult`` is `multiplier`."""
        scale, offset = self._table(RATE, self._base * multiplier)
        return float(scale[step] * self._base * multiplier + offset[step])

    def momentum(self, step: int, base: float) -> float:
        """The momentum at the global 0-based `step`, where `base` is the optimizer's."""
        scale, offset = self._table(MOMENTUM, base)
        return float(scale[step] * base + offset[step])

    def momenta(self, base: float) -> np.ndarray:
        """Those of all steps, f64 (steps,)."""
        scale, offset = self._table(MOMENTUM, base)
        return scale * base + offset

    def _table(self, of: str, base: float) -> tuple[np.ndarray, np.ndarray]:
        """Scale and offset of every step, f64 (steps,)."""
        key = of, base if self._cuts else 0.0  # without a cut, one table for all
        if key not in self._tables:
            self._tables[key] = self._computed(of, base)
        return self._tables[key]

    def _computed(self, of: str, base: float) -> tuple[np.ndarray, np.ndarray]:
        listed = [one for one in self._schedulers if one.of == of]
        in_order = [s for s in listed if not s.by_epoch] + [s for s in listed if s.by_epoch]
        scales, offsets = np.empty(self._steps), np.empty(self._steps)
        cuts: dict[int, list[Cut]] = {}
        for one in self._cuts:
            if one.of == of:
                cuts.setdefault(one.step, []).append(one)
        scale, offset = 1.0, 0.0
        for step in range(self._steps):
            epoch, within = divmod(step, self._steps_per_epoch)
            for _, by_epoch, begin, end, move in in_order if step else listed:
                if by_epoch and within:
                    continue
                time = epoch if by_epoch else step
                if begin <= time < end:
                    factor, per_base, constant = move(time - begin)
                    scale, offset = factor * scale + per_base, factor * offset + constant
            for cut in cuts.get(step, ()):
                value = scale * base + offset
                lower = max(value * cut.factor, cut.least)
                if value - lower > cut.eps:
                    scale, offset = 0.0, lower
            scales[step], offsets[step] = scale, offset
        return scales, offsets


def rate_factor(config: Config, ranks: int) -> tuple[float, str]:
    """By how much ``auto_scale_lr`` multiplies all learning rates, and a line that says so, empty where it is off.

    MMEngine's ``Runner.scale_lr``: ranks count, batches that one of them accumulates do not.

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
    factor = float(ranks * batch) / float(base)
    counts = section(config, "optim_wrapper").get("accumulative_counts", 1)
    uncounted = f"; accumulative_counts={counts} does not count, as in MMEngine" if counts > 1 else ""
    return factor, (
        f"auto_scale_lr: lr times {ranks} x {batch} / {base} = {factor:g} (ranks x batch_size / base_batch_size"
        f"{uncounted})"
    )


def _read(where: str, config: dict, steps_per_epoch: int, loop: TrainLoop) -> _Scheduler:
    """One scheduler, with the defaults that mmengine's Runner sets, counted in steps where it is converted to steps."""
    if not isinstance(config, dict):
        raise UserError(f"{where}: expected a dict with 'type', found {type(config).__name__}")
    if config.get("type") is None:
        raise UserError(f"{where}.type is missing: give one of {', '.join((*SCHEDULERS, *PLATEAUS))}")
    kind = class_name(config["type"])
    check_type(where, kind, (*SCHEDULERS, *PLATEAUS))
    make, keys = SCHEDULERS[kind]
    check_keys(where, config, ("type", *KEYS, *keys, *WITHOUT_EFFECT))
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
    of = MOMENTUM if kind.endswith(MOMENTUM) else RATE
    return _Scheduler(of, by_epoch, begin, end, make(where, config, end - begin, unit))
