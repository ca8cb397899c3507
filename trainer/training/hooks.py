"""Code of the user's own in a training run: `Hook` is its base class, `Hooks` calls what ``custom_hooks`` names.

    custom_hooks = [dict(type='my_hooks.LossFile', name='losses.txt')]      a module's class and its keywords

    host    build k+1 │ read k │ queue k+1 │ after_step k │ build k+2 │ ...     losses are read late, so a hook hears
                                                                                of a step after the next one is queued
    of one step         after_step, after_epoch, (checkpoint), (evaluation) after_evaluation

Hooks get numbers and copies in numpy: nothing that they do with these changes the run. One that raises ends it, after a
checkpoint of the last finished step. A run that is resumed tells what its first part has not told, and may tell the
steps behind the checkpoint again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shared.errors import UserError
from shared.hook_keys import own_hooks
from trainer.process import own_class

Weights = Callable[[], dict[str, np.ndarray]]


class Moment(NamedTuple):
    """Where a run is: finished steps and finished epochs, from its very beginning, and the folder of its files."""

    step: int
    epoch: int
    work_dir: Path


class Hook:
    """Base class of a user's hooks. The constructor gets the keys that stand beside ``type``."""

    def after_step(self, now: Moment, losses: Mapping[str, float], rate: float) -> None:
        """A step is done; `losses` are its terms by name, `rate` is its learning rate."""

    def after_epoch(self, now: Moment, weights: Weights) -> None:
        """An epoch is done; `weights()` copies the trained parameters, f32 by name. Not with IterBasedTrainLoop."""

    def after_evaluation(self, now: Moment, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """An evaluation is done; `metrics` has them by data set and reading of the scores, and by name."""


class Hooks:
    """The hooks of a run, and what they have not heard yet."""

    def __init__(self, config: Mapping[str, Any], ranks: int = 1) -> None:
        """Imports and makes the hooks.

        Raises:
            UserError: one cannot be made, or there are several ranks.
        """
        self._hooks = [(where, _made(where, dict(hook))) for where, hook in own_hooks(config)]
        self._waiting: list[tuple[str, tuple[Any, ...]]] = []
        if self._hooks and ranks > 1:
            raise UserError(
                f"config key '{self._hooks[0][0]}': a hook of your own needs one rank; train without mpirun"
            )

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def tell(self, method: str, *arguments: Any) -> None:
        """Keeps a call for `call`."""
        if self._hooks:
            self._waiting.append((method, arguments))

    def call(self) -> None:
        """Calls all hooks with what they have not heard yet.

        Raises:
            UserError: one raises.
        """
        waiting, self._waiting = self._waiting, []
        for method, arguments in waiting:
            for where, hook in self._hooks:
                try:
                    getattr(hook, method)(*arguments)
                except Exception as error:
                    name = f"{own_class.title(type(hook))}.{method}"
                    said = own_class.told(error, type(hook))
                    raise UserError(f"config key '{where}': {name} raises {said}") from error


def _made(where: str, hook: dict[str, Any]) -> Hook:
    cls = own_class.find(where, str(hook.pop("type")), Hook)
    hook.pop("priority", None)  # they are called in their order
    made: Hook = own_class.make(where, cls, hook)
    return made
