"""An end before ``max_epochs``, where a metric no longer improves: MMEngine's EarlyStoppingHook.

An evaluation is an improvement unless ``best + min_delta`` is better than it ('less': ``best - min_delta``), whatever
the best is by then; ``patience`` evaluations in a row without one end the run. So does a score that is not finite,
unless ``check_finite`` is False, and one that is better than ``stopping_threshold``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from shared.hook_keys import find_hook
from trainer.training.comparison import GREATER, WORST, better, find, no_metric, rule_of


class EarlyStopping:
    """Whether a run ends early.

    Attributes:
        state: for a checkpoint: the best score, evaluations since the last improvement, and why the run is over; as
            set, it goes on from there.
    """

    def __init__(self, config: Config) -> None:
        """Raises UserError where the hook has no rule, and its metric's name tells none."""
        self._where, hook = find_hook(config, "EarlyStoppingHook")
        self.state: dict[str, Any] = {}
        if not self._where:
            return
        self._monitor: str = hook["monitor"]
        self._rule: str = hook.get("rule") or rule_of(f"{self._where}.rule", self._monitor)
        delta = hook.get("min_delta", 0.1)
        self._delta: float = delta if self._rule == GREATER else -delta
        self._strict: bool = hook.get("strict", False)
        self._check_finite: bool = hook.get("check_finite", True)
        self._patience: int = hook.get("patience", 5)
        self._threshold: float | None = hook.get("stopping_threshold")
        self.state = {"best": WORST[self._rule], "waited": 0, "over": ""}

    def __bool__(self) -> bool:
        """Whether a run may end early."""
        return bool(self._where)

    @property
    def over(self) -> str:
        """Why the run is over; empty while it is not."""
        return self.state.get("over", "")

    def take(self, metrics: Mapping[str, float]) -> str:
        """Takes in an evaluation; returns a line for the user, empty where there is nothing to say.

        Raises:
            UserError: with ``strict``, it has no such metric.
        """
        if not self._where:
            return ""
        name = find(metrics, self._monitor)
        if name is None:
            missing = no_metric(f"{self._where}.monitor", self._monitor, metrics)
            if self._strict:
                raise missing
            return f"warning: {missing}; the run does not end early by this evaluation"
        score, best = metrics[name], self.state["best"]
        if self._check_finite and not math.isfinite(score):
            self.state["over"] = f"{name} is {score}"
        elif self._threshold is not None and better(self._rule, score, self._threshold):
            self.state |= {"best": score, "over": f"{name} is {score:.4g}, {self._rule} than {self._threshold:g}"}
        elif better(self._rule, best + self._delta, score):
            self.state["waited"] += 1
            if self.state["waited"] >= self._patience:
                self.state["over"] = (
                    f"{name} has not improved in {self.state['waited']} evaluations; the best was {best:.4g}"
                )
        else:
            self.state |= {"best": score, "waited": 0}
        return f"the run ends early: {self.over} ({self._where})" if self.over else ""
