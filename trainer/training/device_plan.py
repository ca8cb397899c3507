"""What a card's memory will have to hold, said after the first step: its batch is seldom the largest.

in use = CUDA's own + weights and the optimizer's buffers + what grows with a batch's images
"""

from __future__ import annotations

from trainer.process.out_of_memory import REMEDY


def forecast(used: int, total: int, fixed: int, batch: int, largest: int) -> str:
    """A line for the user after one step.

    Args:
        used, total: bytes of the card.
        fixed: bytes of what is the same for every batch.
        batch: bytes of that step's batch.
        largest: bytes of the largest batch that there may be.
    """
    needed = used + (used - fixed) * (largest / batch - 1)
    line = (
        f"{used / 2**30:.1f} of {total / 2**30:.1f} GiB after one step; the largest batch of this plan needs about "
        f"{needed / 2**30:.1f}"
    )
    return line if needed <= total else f"warning: {line}: {REMEDY}"
