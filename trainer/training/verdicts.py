"""What an evaluation decides: whether a checkpoint is the best one, the run ends early, or the learning rate falls.

A verdict is a function of the metrics so far, and what it needs of earlier ones is in every checkpoint, so a resumed
run decides as an undisturbed one. An evaluation that is made again, because the run was killed in it, decides nothing
twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mmengine.config import Config

from shared.errors import UserError
from shared.train_loop import TrainLoop
from trainer.training.best import Best, NewBest
from trainer.training.early_stopping import EarlyStopping
from trainer.training.plateau import Cut, Plateaus

Metrics = dict[str, dict[str, float]]


class Evaluated(NamedTuple):
    """An evaluation.

    Attributes:
        metrics: by split and reading of the scores, as they are shown.
        judged: the first split's, by the detector's own scores, under MMEngine's names.
        pictures: contact sheets (PNG) by split.
    """

    metrics: Metrics
    judged: dict[str, float]
    pictures: dict[str, bytes] = {}  # noqa: RUF012 - never changed


class Verdict(NamedTuple):
    """What follows from an evaluation.

    Attributes:
        best: the best checkpoints to be written.
        says: a line for the user, or an empty one.
        changed: whether the next evaluation's verdict depends on it.
    """

    best: list[NewBest]
    says: str
    changed: bool


class Verdicts:
    """The verdicts of a run.

    Attributes:
        step: of the last evaluation that has been decided.
    """

    def __init__(self, config: Config) -> None:
        """Raises UserError for settings of the hooks that contradict each other, and where nothing is evaluated."""
        hook = (config.get("default_hooks") or {}).get("checkpoint") or {}
        self._best = Best(hook, TrainLoop.of(config.get("train_cfg") or {}).by_epoch)
        self._stopping = EarlyStopping(config)
        self._plateaus = Plateaus(config)
        self.step = 0
        deciding = self._best or self._stopping or self._plateaus
        if deciding and not any(config.get(f"{split}_evaluator") for split in ("val", "test")):
            raise UserError(
                "save_best, EarlyStoppingHook and schedulers named ReduceOnPlateau are decided by evaluations, and "
                "there is no val_evaluator: give one, or remove them"
            )

    @property
    def over(self) -> str:
        """Why the run ends early; empty while it does not."""
        return self._stopping.over

    @property
    def cuts(self) -> list[Cut]:
        """Of the learning rate and the momentum, so far."""
        return self._plateaus.cuts

    def ended_before(self, step: int) -> bool:
        """Whether the run ends early, by an evaluation before that of `step`."""
        return bool(self.over) and self.step < step

    @property
    def state(self) -> dict[str, Any]:
        """For a checkpoint: numbers and texts."""
        return {
            "step": self.step,
            "best": self._best.state,
            "early_stopping": self._stopping.state,
            "plateaus": self._plateaus.state,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave."""
        self.step = state.get("step", 0)
        self._best.state = state.get("best", {})
        if self._stopping:
            self._stopping.state |= state.get("early_stopping", {})
        self._plateaus.resume(state.get("plateaus", {}))

    def take(self, metrics: dict[str, float], epoch: int, step: int, now: int | None = None) -> Verdict:
        """Of an evaluation after `step` finished steps, `epoch` epochs, taken after `now` steps (default: at once).

        Raises:
            UserError: it has no metric that a hook names.
        """
        if step == self.step:
            return Verdict([], "", False)
        best = self._best.take(metrics, epoch, step) if metrics else []
        says = [self._stopping.take(metrics), self._plateaus.take(metrics, epoch, now or step)] if metrics else []
        self.step = step
        return Verdict(
            best, "; ".join(filter(None, says)), bool(metrics) and bool(best or self._stopping or self._plateaus)
        )
