"""When a run writes checkpoints, evaluates and logs, as its config says.

Each is a pure function of the number of finished steps, so a resumed run does what an undisturbed one would have done.
"""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from shared.config import section


class Intervals:
    """The rules of a run; `check_hooks` and `check_section` have accepted their values.

    Attributes:
        max_epochs: how long the run is.
        log: steps from one line of the log to the next; None: the last step's only.
        max_keep: how many checkpoints are kept; None: all.
    """

    def __init__(self, config: Config) -> None:
        train = section(config, "train_cfg")
        self.max_epochs: int = train.get("max_epochs", 12)
        self._evaluated = any(config.get(f"{split}_evaluator") for split in ("val", "test"))
        self._val_begin: int = max(1, train.get("val_begin") or 1)
        # the last of these whose epoch is not after the present one holds
        self._val_intervals: list[tuple[int, int]] = [
            (0, train.get("val_interval", 1)),
            *((epoch, interval) for epoch, interval in train.get("dynamic_intervals") or []),
        ]
        hooks: dict[str, Any] = config.get("default_hooks") or {}
        logger = hooks.get("logger", {})
        self.log: int | None = None if logger is None else logger.get("interval", 50)
        checkpoint = hooks.get("checkpoint", {})
        self._checkpoints = checkpoint is not None
        checkpoint = checkpoint or {}
        self._interval: int = checkpoint.get("interval", 1)
        self._by_epoch: bool = checkpoint.get("by_epoch", True)
        most = checkpoint.get("max_keep_ckpts", -1)
        self.max_keep: int | None = most if most > 0 else None

    def saves(self, step: int, steps_per_epoch: int) -> bool:
        """Whether a checkpoint is written after `step` finished steps: at the interval, at the end of the run, and
        before an evaluation, so that there is nothing to lose while it runs."""
        if not self._checkpoints:
            return False
        epoch, within = divmod(step, steps_per_epoch)
        if epoch == self.max_epochs or self.evaluates(step, steps_per_epoch):
            return True
        count = epoch if self._by_epoch else step
        return self._interval > 0 and count % self._interval == 0 and not (self._by_epoch and within)

    def evaluates(self, step: int, steps_per_epoch: int) -> bool:
        """Whether the model is evaluated after `step` finished steps: MMEngine's EpochBasedTrainLoop."""
        epoch, within = divmod(step, steps_per_epoch)
        if not self._evaluated or within or epoch < self._val_begin:
            return False
        # MMEngine looks up the interval of the epoch that comes next
        interval = [value for begin, value in self._val_intervals if begin <= epoch + 1][-1]
        return epoch % interval == 0 or epoch == self.max_epochs
