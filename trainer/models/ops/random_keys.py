"""Random keys that choose what a step is trained on: the same on a CPU and a GPU, whatever was drawn before.

    (seed, step, use, row, column) ──Philox 4x32-10──► 24 bits ──► f32 in [0, 1), a multiple of 2^-24

Nothing is seeded, and no draw goes on from the one before. So a step draws the same in a run that was resumed, on any
of several ranks, and a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from trainer.device import jt
from trainer.device.kernels import kernel

ORIGIN = "Philox 4x32-10"  # in checkpoints: of other keys come other samples


class Use(IntEnum):
    """What keys choose. The numbers are Philox's: another one is another choice in every training."""

    STRICT_ANCHORS = 0
    WIDE_ANCHORS = 1
    ROIS = 2
    CLASSES = 3


@dataclass(frozen=True)
class Draw:
    """What keys depend on beside their place in a table.

    Attributes:
        seed: the run's, 0 to 2^32 - 1.
        step: of the run, 0 to 2^32 - 1.
        use: what they choose.
    """

    seed: int
    step: int
    use: Use


def random_keys(draw: Draw, shape: tuple[int, int]) -> jt.Var:
    """Keys f32 `shape` (rows, columns), neither of which is 0. A row is an image or another group."""
    return jt.code(
        shape,
        "float32",
        [],
        data={"seed": draw.seed, "step": draw.step, "use": int(draw.use)},
        **kernel(__file__, "random_keys::fill(data, out0_shape0, out0_shape1, out0_p);"),
    )
