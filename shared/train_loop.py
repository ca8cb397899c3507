"""``train_cfg`` as MMEngine's two loops read it: how long a run is, and after which steps it is evaluated.

    EpochBasedTrainLoop    counts epochs: max_epochs, val_interval (default 1), val_begin, dynamic_intervals
    IterBasedTrainLoop     counts steps: max_iters and the same three (val_interval: default 1000); a data set that ends
                           begins again, and nothing follows from that

``by_epoch=True`` or ``False`` is another way to name the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.config_keys import class_name
from shared.errors import UserError

EPOCHS, STEPS = "EpochBasedTrainLoop", "IterBasedTrainLoop"


@dataclass(frozen=True)
class TrainLoop:
    """One run's.

    Attributes:
        by_epoch: whether `length` and all that follows are epochs; else they are steps.
        val_begin: not evaluated before.
        val_intervals: (from when on, interval); the last whose beginning has come holds.
        val_async: whether training goes on while the metrics of an evaluation are computed; MMEngine has no such key.
    """

    by_epoch: bool
    length: int
    val_begin: int
    val_intervals: tuple[tuple[int, int], ...]
    val_async: bool = False

    @classmethod
    def of(cls, train_cfg: Mapping[str, Any]) -> TrainLoop:
        """That of a config, whose values `shared.config_keys` has accepted one by one.

        Raises:
            UserError: two keys contradict each other, or there are no ``max_iters``.
        """
        named = {class_name(train_cfg["type"]) == EPOCHS} if train_cfg.get("type") else set()
        named |= {train_cfg["by_epoch"]} if "by_epoch" in train_cfg else set()
        if len(named) > 1:
            raise UserError(
                f"config key 'train_cfg.by_epoch' is {train_cfg['by_epoch']}, and train_cfg.type is "
                f"{train_cfg['type']!r}: remove one of them"
            )
        by_epoch = named != {False}
        length, other = ("max_epochs", "max_iters") if by_epoch else ("max_iters", "max_epochs")
        kind, another = (EPOCHS, STEPS) if by_epoch else (STEPS, EPOCHS)
        if train_cfg.get(other) is not None:
            raise UserError(
                f"config key 'train_cfg.{other}' is {train_cfg[other]}, and {kind} counts {length}: set "
                f"type={another!r}, or remove {other} (where it is inherited: train_cfg=dict(_delete_=True, ...))"
            )
        if not by_epoch and train_cfg.get(length) is None:
            raise UserError(f"config key 'train_cfg.max_iters' is missing: {kind} needs the number of steps")
        return cls(
            by_epoch,
            int(train_cfg.get(length) or 12),
            max(1, train_cfg.get("val_begin") or 1),
            (
                (0, int(train_cfg.get("val_interval", 1 if by_epoch else 1000))),
                *((begin, int(interval)) for begin, interval in train_cfg.get("dynamic_intervals") or ()),
            ),
            train_cfg.get("val_async", False),
        )

    def total_steps(self, steps_per_epoch: int) -> int:
        """How long the run is."""
        return self.length * steps_per_epoch if self.by_epoch else self.length

    def evaluates(self, step: int, steps_per_epoch: int) -> bool:
        """Whether the model is evaluated after `step` finished steps, as MMEngine's loops do."""
        time, within = divmod(step, steps_per_epoch) if self.by_epoch else (step, 0)
        if within or time < self.val_begin:
            return False
        # MMEngine looks up the interval of the epoch, or step, that comes next
        interval = [value for begin, value in self.val_intervals if begin <= time + 1][-1]
        return time % interval == 0 or time == self.length

    def checkpoint_name(self, step: int, steps_per_epoch: int) -> str:
        """The file that a checkpoint after `step` finished steps is written to."""
        epoch, within = divmod(step, steps_per_epoch)
        return f"epoch_{epoch}.safetensors" if self.by_epoch and not within else f"step_{step}.safetensors"

    @property
    def last_checkpoint(self) -> str:
        """The file of the last step's checkpoint."""
        return f"{'epoch' if self.by_epoch else 'step'}_{self.length}.safetensors"
