"""Which batches make an update together: MMEngine's ``optim_wrapper.accumulative_counts``.

With accumulative_counts=3 and 8 batches in the whole run:

    batch     0    1    2     3    4    5     6    7
    share    1/3  2/3  3/3   1/3  2/3  3/3   1/2  2/2
                        update         update      update

The gradients of a group are averaged, and groups do not end with an epoch. A pure function of the step, so a resumed
run does what an undisturbed one would have done.
"""

from __future__ import annotations

from typing import NamedTuple


class Share(NamedTuple):
    """A batch's part in an update: the `number`-th, counted from 1, of `batches`."""

    number: int
    batches: int

    @property
    def completes(self) -> bool:
        """Whether the update follows."""
        return self.number == self.batches


WHOLE = Share(1, 1)


class Accumulation:
    """The groups of a run of `total_steps` batches; `counts` batches each, the last one has what is left."""

    def __init__(self, counts: int, total_steps: int) -> None:
        self._counts, self._total_steps = counts, total_steps

    def share(self, step: int) -> Share:
        """Of the batch of the 0-based global `step`."""
        first = step - step % self._counts
        return Share(step - first + 1, min(self._counts, self._total_steps - first))

    def waiting(self, step: int) -> Share | None:
        """The share of the last of the first `step` batches; None where an update has followed it."""
        share = self.share(step - 1) if step else WHOLE
        return None if share.completes else share
