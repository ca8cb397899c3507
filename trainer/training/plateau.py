"""A learning rate, or a momentum, that falls where a metric no longer improves: MMEngine's ReduceOnPlateauLR and
ReduceOnPlateauMomentum.

    evaluation ──► better than the best by `threshold`, of it ('rel') or in all ('abs')?     yes: it is the new best
                                                                  no: one more in a row without an improvement
               ──► of the `cooldown` evaluations after a cut?     none is counted as without an improvement
               ──► more than `patience` in a row?                 a cut, and counting begins again

A cut takes every rate, or the momentum, as other schedulers have made it, times `factor`, not below `min_value`, where
that is more than `eps` of a change. `trainer.training.schedule` has its effect from the next step on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.config import Config

from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import check_keys, check_number, of_type, one_of
from shared.train_loop import TrainLoop
from trainer.training.comparison import GREATER, LESS, WORST, better, find, no_metric
from trainer.training.moves import MOMENTUM, RATE

PLATEAUS = {f"ReduceOnPlateau{of}": of for of in (RATE, MOMENTUM)}
WITHOUT_EFFECT = ("verbose", "last_step", "_scope_")
_NUMBERS = {"factor": 0.1, "patience": 10, "threshold": 1e-4, "cooldown": 0, "min_value": 0.0, "eps": 1e-8, "begin": 0}
KEYS = (*_NUMBERS, "monitor", "rule", "threshold_rule", "by_epoch", "end")


class Cut(NamedTuple):
    """A fall of all rates before the 0-based `step`: to `factor` of them, not below `least`, by more than `eps`; or of
    the momentum, by `of`."""

    step: int
    factor: float
    least: float
    eps: float
    of: str = RATE


def is_plateau(scheduler: Any) -> bool:
    """Whether an item of ``param_scheduler`` is one of these."""
    return isinstance(scheduler, Mapping) and class_name(scheduler.get("type")) in PLATEAUS


class Plateaus:
    """All of a config.

    Attributes:
        cuts: so far, by their step.
    """

    def __init__(self, config: Config) -> None:
        """Raises UserError for a key or value that cannot be honoured."""
        listed = config.get("param_scheduler")
        listed = listed if isinstance(listed, list | tuple) else [listed]
        by_epoch = TrainLoop.of(config.get("train_cfg") or {}).by_epoch
        found = [(f"param_scheduler[{i}]", one) for i, one in enumerate(listed) if is_plateau(one)]
        self._plateaus = [_Plateau(where, one, by_epoch) for where, one in found]
        self.cuts: list[Cut] = []

    def __bool__(self) -> bool:
        return bool(self._plateaus)

    @property
    def state(self) -> dict[str, Any]:
        """For a checkpoint: numbers and texts."""
        return {"plateaus": [one.state for one in self._plateaus], "cuts": [list(cut) for cut in self.cuts]}

    def resume(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave; of schedulers that the config has no more, the cuts are over as well."""
        for one, kept in zip(self._plateaus, state.get("plateaus", ()), strict=False):
            one.state = kept
        self.cuts = [Cut(*cut) for cut in state.get("cuts", ()) if self._plateaus]

    def take(self, metrics: Mapping[str, float], epoch: int, step: int) -> str:
        """Takes in an evaluation after `epoch` finished epochs; training goes on with the 0-based `step`. Returns a
        line for the user, empty where there is nothing to say.

        Raises:
            UserError: it has no metric that is monitored.
        """
        said = []
        for one in self._plateaus:
            if line := one.take(metrics, epoch):
                self.cuts.append(Cut(step, one.factor, one.least, one.eps, one.of))
                said.append(line)
        return "; ".join(said)


class _Plateau:
    """One of them. `state` is for a checkpoint: the best score, evaluations in a row without an improvement, and how
    many of the cooldown are left."""

    def __init__(self, where: str, scheduler: Mapping[str, Any], by_epoch: bool) -> None:
        check_keys(where, scheduler, ("type", *KEYS, *WITHOUT_EFFECT))
        given = {key: check_number(f"{where}.{key}", scheduler.get(key, usual), 0) for key, usual in _NUMBERS.items()}
        end = check_number(f"{where}.end", scheduler.get("end", math.inf), 0)
        if end <= given["begin"]:
            raise UserError(f"{where}: end={end} must be larger than begin={given['begin']}")
        if given["factor"] >= 1:
            raise UserError(f"{where}.factor={given['factor']!r}: expected less than 1")
        if scheduler.get("by_epoch", True) is not True:
            raise UserError(f"{where}.by_epoch is {scheduler['by_epoch']!r}; evaluations are what counts: remove it")
        if scheduler.get("last_step", -1) != -1:
            raise UserError(f"{where}.last_step={scheduler['last_step']!r}: it starts at the first step; remove it")
        if "monitor" not in scheduler:
            raise UserError(f"config key '{where}.monitor' is missing: give the name of a metric, e.g. coco/bbox_mAP")
        of_type(str, "a metric's name").check(f"{where}.monitor", scheduler["monitor"])
        one_of(GREATER, LESS).check(f"{where}.rule", rule := scheduler.get("rule", LESS))
        one_of("rel", "abs").check(f"{where}.threshold_rule", kind := scheduler.get("threshold_rule", "rel"))
        self._where, self._monitor, self._rule = where, scheduler["monitor"], rule
        self.of = PLATEAUS[class_name(scheduler["type"])]
        self._threshold = given["threshold"] if rule == GREATER else -given["threshold"]
        self._relative = kind == "rel"
        self._patience, self._cooldown = given["patience"], given["cooldown"]
        self._begin, self._end, self._by_epoch = given["begin"], end, by_epoch
        self.factor, self.least, self.eps = given["factor"], given["min_value"], given["eps"]
        self.state: dict[str, Any] = {"best": WORST[rule], "waited": 0, "cooling": 0}

    def take(self, metrics: Mapping[str, float], epoch: int) -> str:
        """See `Plateaus.take`; to MMEngine, IterBasedTrainLoop is in its first epoch to the end."""
        if not self._begin <= (epoch if self._by_epoch else 0) < self._end:
            return ""
        name = find(metrics, self._monitor)
        if name is None:
            raise no_metric(f"{self._where}.monitor", self._monitor, metrics)
        score, best = metrics[name], self.state["best"]
        if better(self._rule, score, best * (1.0 + self._threshold) if self._relative else best + self._threshold):
            self.state |= {"best": score, "waited": 0}
        else:
            self.state["waited"] += 1
        if self.state["cooling"] > 0:
            self.state |= {"cooling": self.state["cooling"] - 1, "waited": 0}
        waited = self.state["waited"]
        if waited <= self._patience:
            return ""
        self.state |= {"cooling": self._cooldown, "waited": 0}
        value = "learning rate" if self.of == RATE else "momentum"
        return (
            f"{name} has not improved in {waited} evaluations, the best was {self.state['best']:.4g}: the {value} "
            f"falls to {self.factor:g} of what it is ({self._where})"
        )
