"""When a run writes checkpoints, evaluates and logs, as its config says.

Each is a pure function of the number of finished steps, so a resumed run does what an undisturbed one would have done.
"""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from shared.config import section
from shared.train_loop import TrainLoop


class Intervals:
    """The rules of a run; `check_hooks` and `check_section` have accepted their values.

    Attributes:
        loop: how long the run is.
        log: steps from one line of the log to the next; None: the last step's only.
        max_keep: how many checkpoints are kept; None: all.
    """

    def __init__(self, config: Config) -> None:
        self.loop = TrainLoop.of(section(config, "train_cfg"))
        self._evaluated = any(config.get(f"{split}_evaluator") for split in ("val", "test"))
        hooks: dict[str, Any] = config.get("default_hooks") or {}
        logger = hooks.get("logger", {})
        self.log: int | None = None if logger is None else logger.get("interval", 50)
        checkpoint = hooks.get("checkpoint", {})
        self._checkpoints = checkpoint is not None
        checkpoint = checkpoint or {}
        self._by_epoch: bool = checkpoint.get("by_epoch", True)
        self._interval: int = checkpoint.get("interval", 1 if self._by_epoch else -1)
        most = checkpoint.get("max_keep_ckpts", -1)
        self.max_keep: int | None = most if most > 0 else None

    def saves(self, step: int, steps_per_epoch: int) -> bool:
        """Whether a checkpoint is written after `step` finished steps: at the interval, at the end of the run, and
        before an evaluation, so that there is nothing to lose while it runs."""
        if not self._checkpoints:
            return False
        if step == self.loop.total_steps(steps_per_epoch) or self.evaluates(step, steps_per_epoch):
            return True
        if self._by_epoch and not self.loop.by_epoch:
            return False  # to MMEngine, all steps of such a loop are one epoch
        count, within = divmod(step, steps_per_epoch) if self._by_epoch else (step, 0)
        return self._interval > 0 and count % self._interval == 0 and not within

    def evaluates(self, step: int, steps_per_epoch: int) -> bool:
        """Whether the model is evaluated after `step` finished steps."""
        return self._evaluated and self.loop.evaluates(step, steps_per_epoch)
