"""What an evaluation decides: whether a checkpoint is the best one.

A verdict is a function of the metrics so far, and what it needs of earlier ones is in every checkpoint, so a resumed
run decides as an undisturbed one. An evaluation that is made again, because the run was killed in it, decides nothing
twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mmengine.config import Config

from shared.errors import UserError
from trainer.training.best import Best, NewBest

Metrics = dict[str, dict[str, float]]


class Evaluated(NamedTuple):
    """An evaluation.

    Attributes:
        metrics: by split and reading of the scores, as they are shown.
        judged: the first split's, by the detector's own scores, under MMEngine's names.
    """

    metrics: Metrics
    judged: dict[str, float]


class Verdict(NamedTuple):
    """What follows from an evaluation.

    Attributes:
        best: the best checkpoints to be written.
        changed: whether the next evaluation's verdict depends on it.
    """

    best: list[NewBest]
    changed: bool


class Verdicts:
    """The verdicts of a run."""

    def __init__(self, config: Config) -> None:
        """Raises UserError for settings of the hooks that contradict each other, and where nothing is evaluated."""
        self._best = Best((config.get("default_hooks") or {}).get("checkpoint") or {})
        self._step = 0
        if self._best and not any(config.get(f"{split}_evaluator") for split in ("val", "test")):
            raise UserError(
                "default_hooks.checkpoint.save_best is decided by evaluations, and there is no val_evaluator: give "
                "one, or remove it"
            )

    @property
    def state(self) -> dict[str, Any]:
        """For a checkpoint: numbers and texts."""
        return {"step": self._step, "best": self._best.state}

    def resume(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave."""
        self._step = state.get("step", 0)
        self._best.state = state.get("best", {})

    def take(self, metrics: dict[str, float], epoch: int, step: int) -> Verdict:
        """Of an evaluation after `step` finished steps, `epoch` epochs.

        Raises:
            UserError: it has no metric that a hook names.
        """
        if step == self._step or not metrics:
            return Verdict([], False)
        best = self._best.take(metrics, epoch, step)
        self._step = step
        return Verdict(best, bool(best))
