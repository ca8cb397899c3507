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

from typing import NamedTuple

import numpy as np
from mmengine.config import Config

from shared.config import section
from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import check_keys, check_number, check_type
from shared.train_loop import TrainLoop
from trainer.training.moves import ALONE, SCHEDULERS, Move

KEYS = ("by_epoch", "begin", "end", "convert_to_iter_based")  # of every scheduler
WITHOUT_EFFECT = ("verbose", "last_step", "_scope_")
_ON_PLATEAU = "would make the rate depend on evaluations: set the steps of MultiStepLR"
_MOMENTUM = "changes the momentum, which stays what optim_wrapper.optimizer says: remove it"


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
        kinds = [class_name(config["type"]) for config in listed if config is not None]
        if ALONE in kinds and len(kinds) > 1:
            raise UserError(f"param_scheduler: {ALONE} sets the rate whatever others do; let it be the only one")
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
        raise UserError(f"{where}.type is missing: give one of {', '.join(SCHEDULERS)}")
    kind = class_name(config["type"])
    if kind.startswith("ReduceOnPlateau") or kind.endswith("Momentum"):
        raise UserError(f"{where} is {kind!r}, which {_MOMENTUM if kind.endswith('Momentum') else _ON_PLATEAU}")
    check_type(where, kind, tuple(SCHEDULERS))
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
    return _Scheduler(by_epoch, begin, end, make(where, config, end - begin, unit))
