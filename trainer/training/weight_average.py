"""An average of the weights, beside those that are trained: MMEngine's EMAHook.

After every step, n counted from the first that is averaged, average += share(n) * (weights - average):

    ExponentialMovingAverage   momentum
    MomentumAnnealingEMA       max(momentum, gamma / (gamma + n))
    ExpMomentumEMA             (1 - momentum) * exp(-(1 + n) / gamma) + momentum     MMDetection's
    StochasticWeightAverage    1 / (n // interval + 1)

At n = 0 it is the weights, as before ``begin_iter`` or ``begin_epoch``; from then on it moves where n is a multiple of
``interval``. It is evaluated, and it is what a checkpoint has as the model; the weights that training goes on with are
beside it, under ``training.``. Parameters that are not trained, and running statistics, which are not either, have no
average: it is what they are.

Averages are on the device, as large as what is trained, and nothing is read from it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from mmengine.config import Config

from shared.config_keys import class_name
from shared.errors import UserError
from shared.hook_keys import EMA, find_hook
from shared.keys import check_keys, check_number
from shared.train_loop import TrainLoop
from trainer.device import jt, var
from trainer.training.kept import Kept
from trainer.training.update import blend
from trainer.weights.checkpoint import Checkpoint
from trainer.weights.names import check_finite, describe_mismatch

_STEPS = "steps"


class _Kind(NamedTuple):
    """A kind of average: its share of the weights at n, from its settings, and their defaults."""

    share: Callable[[int, dict[str, float]], float]
    defaults: dict[str, float]


_KINDS = {
    "ExponentialMovingAverage": _Kind(lambda _, own: own["momentum"], {"momentum": 0.0002}),
    "MomentumAnnealingEMA": _Kind(
        lambda n, own: max(own["momentum"], own["gamma"] / (own["gamma"] + n)), {"momentum": 0.0002, "gamma": 100}
    ),
    "ExpMomentumEMA": _Kind(
        lambda n, own: (1 - own["momentum"]) * math.exp(-(1 + n) / own["gamma"]) + own["momentum"],
        {"momentum": 0.0002, "gamma": 2000},
    ),
    "StochasticWeightAverage": _Kind(lambda n, own: 1 / (n // own["interval"] + 1), {}),
}


class WeightAverage:
    """The average of a run's weights; where the config has no EMAHook, what is asked of it changes nothing."""

    def __init__(self, config: Config, parameters: Mapping[str, jt.Var]) -> None:
        """`parameters` are those that are trained, by name.

        Raises:
            UserError: of the hook's settings.
        """
        self._parameters = parameters
        self._averages: list[jt.Var] = []
        self._steps = 0
        self._kept, self._kept_steps = Kept(), 0
        self._where, hook = find_hook(config, "EMAHook")
        self._kind: _Kind | None = None
        if not self._where:
            return
        where = self._where
        name = class_name(hook.get("ema_type", "ExponentialMovingAverage"))
        self._kind = _KINDS[name]
        common = [key.name for key in EMA if key.name not in ("momentum", "gamma")]
        check_keys(f"{where} ({name})", hook, [*common, *self._kind.defaults])
        self._interval: int = hook.get("interval", 1)
        self._own = {
            key: check_number(f"{where}.{key}", hook.get(key, default), 0, above=True)
            for key, default in self._kind.defaults.items()
        }
        if self._own.get("momentum", 0) >= 1:
            raise UserError(f"{where}.momentum={self._own['momentum']}: expected a number above 0 and below 1")
        self._own["interval"] = self._interval
        self._begin_step: int = hook.get("begin_iter") or 0
        self._begin_epoch: int = hook.get("begin_epoch") or 0
        if self._begin_step and self._begin_epoch:
            raise UserError(f"{where}: give begin_iter or begin_epoch, not both")

    def __bool__(self) -> bool:
        """Whether there is an average, or will be."""
        return self._kind is not None

    def check_begin(self, steps: int, loop: TrainLoop) -> None:
        """Raises UserError where a run of so many steps ends before it begins, or has no epochs to begin by."""
        if self._kind is None:
            return
        if self._begin_epoch and not loop.by_epoch:
            raise UserError(f"{self._where}.begin_epoch: IterBasedTrainLoop has no epochs; set begin_iter")
        if self._begin_step > steps or (self._begin_epoch > loop.length and loop.by_epoch):
            raise UserError(
                f"{self._where} would begin after the run's end, {steps} steps: begin earlier, or remove it"
            )

    def follow(self, step: int, steps_per_epoch: int) -> None:
        """Takes in the weights after the 0-based `step`; their update may still be in Jittor's graph."""
        if self._kind is None or step + 1 < self._begin_step or step // steps_per_epoch + 1 < self._begin_epoch:
            return
        if self._steps == 0:
            with jt.no_grad():
                self._averages = [parameter.detach().stop_grad() for parameter in self._parameters.values()]
        elif self._steps % self._interval == 0:
            blend(self._averages, list(self._parameters.values()), self._kind.share(self._steps, self._own))
        self._steps += 1

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the average, and `state_dict` the weights that training goes on with."""
        self._swap()
        try:
            yield
        finally:
            self._swap()
            for average in self._averages:
                average.stop_grad()  # the model's train() has started it

    def keep(self) -> None:
        """From now on `restore` brings back this average."""
        self._kept.keep(self._averages)
        self._kept_steps = self._steps

    def restore(self) -> None:
        """Back to the last `keep`, from a step that failed at any point."""
        self._steps = self._kept_steps
        self._averages = self._averages if self._steps else []
        self._kept.restore(self._averages)

    def state_dict(self) -> dict[str, np.ndarray]:
        """What is beside the average, by the parameters' names, and ``steps``, (1,) int64: n, the next one. Empty while
        the average is the weights."""
        if not self._steps:
            return {}
        named = zip(self._parameters, self._averages, strict=True)
        return {name: average.numpy() for name, average in named} | {_STEPS: np.array([self._steps], np.int64)}

    def load(self, resumed: Checkpoint) -> dict[str, np.ndarray]:
        """Takes over the average of a checkpoint that fits the model; returns the weights that training goes on with,
        by name.

        Raises:
            UserError: what is beside the average is of other parameters, or the config keeps no average.
        """
        state, where = resumed.training, f"checkpoint {resumed.path}"
        if not state:
            return {}
        if self._kind is None:
            raise UserError(
                f"{where} has an average of the weights, and the config has no EMAHook: resume with that of the run "
                "that wrote it, or start from the average without --resume"
            )
        expected = {name: (str(one.dtype), tuple(one.shape)) for name, one in self._parameters.items()}
        mismatch = describe_mismatch(expected | {_STEPS: ("int64", (1,))}, state)
        if mismatch:
            raise UserError(f"{where}: the weights beside their average do not fit the model: {mismatch}")
        trained = {name: array for name, array in state.items() if name != _STEPS}
        check_finite(trained, f"{where}, the weights beside their average")
        self._averages = [var(resumed.model[name]).stop_grad() for name in self._parameters]
        self._steps = int(state[_STEPS][0])
        return trained

    def _swap(self) -> None:
        if self._steps:
            for parameter, average in zip(self._parameters.values(), self._averages, strict=True):
                parameter.swap(average)
