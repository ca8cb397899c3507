"""Anchors: the boxes of fixed size that stand at every cell of every feature level.

Level l has stride s_l; the anchors of cell (x, y) are centred at (x·s_l, y·s_l), not at the middle of the cell
(MMDetection 2 and 3). Per cell they are ordered ratio by ratio, each with all scales; cells go row by row, levels from
fine to coarse. They are made anew for every batch, by one operator: a table for each size of image would never end.
"""

from __future__ import annotations

import numpy as np

from trainer.device import jt, var
from trainer.device.kernels import kernel
from trainer.models.registry import register
from trainer.models.values import Positives

MAKE = "anchors::make(in0_p, in0_shape0, in0_shape1, in1_p, in1_shape0, out0_shape0, data, out0_p, out1_p);"


@register
class AnchorGenerator:
    """Anchors of size scale·stride with height/width = ratio (mmdet's AnchorGenerator).

    Attributes:
        base_anchors: f32 (L,R,4), the anchors of the cell at the origin of each level.
    """

    def __init__(self, scales: Positives, ratios: Positives, strides: Positives) -> None:
        self.strides = list(strides)
        sizes, height_ratios = np.asarray(scales, np.float32), np.sqrt(np.asarray(ratios, np.float32))
        width_ratios = 1 / height_ratios
        levels = []
        for stride in self.strides:
            half_widths = 0.5 * (stride * width_ratios[:, None] * sizes[None]).ravel()
            half_heights = 0.5 * (stride * height_ratios[:, None] * sizes[None]).ravel()
            levels.append(np.stack([-half_widths, -half_heights, half_widths, half_heights], 1))
        self.base_anchors = np.stack(levels)
        self._base = var(self.base_anchors, "float32").stop_grad()

    @property
    def anchors_per_cell(self) -> int:
        """Anchors at one cell of one level."""
        return self.base_anchors.shape[1]

    def counts(self, sizes: list[tuple[int, int]]) -> list[int]:
        """How many anchors each level of these sizes (height, width) has."""
        return [height * width * self.anchors_per_cell for height, width in sizes]

    def __call__(self, sizes: list[tuple[int, int]], image_shapes: jt.Var) -> tuple[jt.Var, jt.Var]:
        """All anchors of feature maps of these sizes (height, width), one size per level; no gradient.

        Args:
            image_shapes: f32 (B,2), height and width of each image's content.

        Returns:
            anchors: f32 (A,4), the levels one behind the other.
            inside: bool (B,A), which of them lie in the image's content.
        """
        data: dict[str, float] = {}
        for i, ((height, width), stride) in enumerate(zip(sizes, self.strides, strict=True)):
            data |= {f"height{i}": height, f"width{i}": width, f"stride{i}": stride}
        count = sum(self.counts(sizes))
        anchors, inside = jt.code(
            [(count, 4), (image_shapes.shape[0], count)],
            ["float32", "bool"],
            [self._base, image_shapes],
            data=data,
            **kernel(__file__, MAKE),
        )
        return anchors, inside
