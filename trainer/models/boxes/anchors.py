"""Anchors: the boxes of fixed size that stand at every cell of every feature level.

Level l has stride s_l; the anchors of cell (x, y) are centred at (x·s_l, y·s_l), not at the middle of the cell
(MMDetection 2 and 3). Per cell they are ordered ratio by ratio, each with all scales; cells go row by row, levels from
fine to coarse.
"""

from __future__ import annotations

import numpy as np

from trainer.models.registry import register


@register
class AnchorGenerator:
    """Anchors of size scale·stride with height/width = ratio (mmdet's AnchorGenerator)."""

    def __init__(self, scales: list[float], ratios: list[float], strides: list[int]) -> None:
        self.strides = [int(stride) for stride in strides]
        scales, ratios = np.asarray(scales, np.float32), np.asarray(ratios, np.float32)
        height_ratios = np.sqrt(ratios)
        width_ratios = 1 / height_ratios
        self.base_anchors = []
        for stride in self.strides:
            half_widths = 0.5 * (stride * width_ratios[:, None] * scales[None]).ravel()
            half_heights = 0.5 * (stride * height_ratios[:, None] * scales[None]).ravel()
            self.base_anchors.append(np.stack([-half_widths, -half_heights, half_widths, half_heights], 1))

    @property
    def anchors_per_cell(self) -> int:
        """Anchors at one cell of one level."""
        return len(self.base_anchors[0])

    def grid(self, sizes: list[tuple[int, int]]) -> np.ndarray:
        """All anchors of feature maps of these sizes (height, width), one size per level.

        Returns:
            f32 (A,4), the levels one behind the other.
        """
        levels = []
        for (height, width), stride, base in zip(sizes, self.strides, self.base_anchors, strict=True):
            y, x = np.mgrid[:height, :width].astype(np.float32) * stride
            corners = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
            levels.append((corners + base[None]).reshape(-1, 4))
        return np.concatenate(levels).astype(np.float32)
