"""The evaluations of a training run, from the predictions to what follows from their metrics.

    predicted after step s ──► its metrics are computed, with ``train_cfg.val_async`` while training goes on
                           ──► the metrics are taken after step s; with ``val_async`` after the step of the next
                               evaluation, before that begins, or after the last one, and waited for where need be

When they are taken depends on the config alone, never on how long they took. A checkpoint from in between has the
weights that are judged: the run that goes on from it predicts again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config

from shared.config import section
from shared.train_loop import TrainLoop
from trainer.device import nn
from trainer.training.verdicts import Evaluated, Verdict, Verdicts
from trainer.training.weight_average import WeightAverage
from trainer.weights import checkpoint
from trainer.weights.names import is_bookkeeping

Evaluate = Callable[[nn.Module], Callable[[], Evaluated] | None]


@dataclass(frozen=True)
class UnderWay:
    """An evaluation whose metrics have not been taken.

    Attributes:
        step: finished steps when it began.
        weights: what is judged, by the model's names.
        record: of the stream up to that step.
        finish: waits for the metrics; None where it must be predicted again.
    """

    step: int
    weights: dict[str, np.ndarray]
    record: dict[str, Any]
    finish: Callable[[], Evaluated] | None = None

    def state_dict(self, to: str) -> dict[str, np.ndarray]:
        """The weights, as `trainer.weights.checkpoint.save` asks for them."""
        assert to == "numpy"
        return self.weights


class Taken(NamedTuple):
    """What an evaluation after `step` finished steps has found."""

    step: int
    found: Evaluated
    verdict: Verdict


class Evaluations:
    """Those of one run; other ranks than the first predict their share, and have the verdicts.

    Attributes:
        late: whether training goes on until the metrics are taken.
        verdicts: what has followed so far.
        under_way: the one whose metrics have not been taken, if there is one.
    """

    def __init__(
        self,
        config: Config,
        verdicts: Verdicts,
        evaluate: Evaluate,
        model: nn.Module,
        average: WeightAverage,
        work_dir: Path,
        say: Callable[[str], None],
    ) -> None:
        """
        Args:
            evaluate: has the model predict, and returns what waits for the metrics and gives them; None on other ranks
                than the first, which never have one under way.
        """
        self.late = TrainLoop.of(section(config, "train_cfg")).val_async
        self.verdicts = verdicts
        self.under_way: UnderWay | None = None
        self._evaluate, self._model, self._average = evaluate, model, average
        self._work_dir, self._say = work_dir, say

    @property
    def state(self) -> dict[str, Any]:
        """For a checkpoint's meta."""
        begun = self.under_way
        return {
            "verdicts": self.verdicts.state,
            **({"under_way": {"step": begun.step, "stream": begun.record}} if begun else {}),
        }

    @property
    def weights(self) -> dict[str, np.ndarray] | None:
        """For a checkpoint: what is judged."""
        return self.under_way.weights if self.under_way else None

    def resume(self, resumed: checkpoint.Checkpoint) -> None:
        """Takes over what a checkpoint has of them; the model has other weights afterwards.

        Raises:
            UserError: what was being evaluated does not fit the model.
        """
        self.verdicts.resume(resumed.meta.get("verdicts", {}))
        begun = resumed.meta.get("under_way")
        if begun:
            checkpoint.restore(replace(resumed, model=resumed.evaluation), self._model)
            self.under_way = UnderWay(begun["step"], resumed.evaluation, begun["stream"])

    def judged_step(self, step: int) -> int:
        """The step of the last evaluation that is over for a run that goes on at `step`."""
        return self.verdicts.step if self.late or self.under_way else step

    def begin(self, step: int, record: dict[str, Any]) -> None:
        """Has the model, as it is after `step` finished steps, predict."""
        with self._average.in_place():
            finish = self._evaluate(self._model)
            weights = self._model.state_dict(to="numpy")
        self.under_way = UnderWay(step, weights, record, finish) if finish is not None else None

    def begin_again(self) -> None:
        """Has what was under way in the run that this one resumes predicted again."""
        if self.under_way is None:
            return
        self._say(f"predicting again what was being evaluated, the weights after step {self.under_way.step}")
        own = self._model.state_dict(to="numpy")
        judged = {name: array for name, array in self.under_way.weights.items() if not is_bookkeeping(name)}
        try:
            checkpoint.put(judged, self._model)
            finish = self._evaluate(self._model)
        finally:
            checkpoint.put(own, self._model)
        self.under_way = replace(self.under_way, finish=finish) if finish is not None else None

    def take(self, steps_per_epoch: int, now: int, meta: Callable[[dict[str, Any]], dict[str, Any]]) -> Taken:
        """Waits, after `now` steps, for the metrics of the one under way; keeps its weights where they are the best so
        far, with the `meta` of its record. Then none is under way.

        Raises:
            UserError, StreamFailed, DataServerLost: as `trainer.evaluation.evaluate.Evaluation.run`; it is still under
                way.
        """
        one = self.under_way
        assert one is not None and one.finish is not None
        found = one.finish()
        epoch, step = divmod(one.step, steps_per_epoch)
        verdict = self.verdicts.take(found.judged, epoch, one.step, now)
        self.under_way = None
        for best in verdict.best:
            path, cursor = self._work_dir / best.file, {"epoch": epoch, "step": step}
            checkpoint.save(path, one, None, cursor, meta(one.record), latest=False)
            if best.former not in (None, best.file):
                (self._work_dir / best.former).unlink(missing_ok=True)
            self._say(f"best {best.metric} so far, {best.score:.4g}: {path}")
        return Taken(one.step, found, verdict)
