"""Anchors: the boxes of fixed size that stand at every cell of every feature level.

Level l has stride s_l; the anchors of cell (x, y) are centred at (x·s_l, y·s_l), not at the middle of the cell
(MMDetection 2 and 3). Per cell they are ordered ratio by ratio, each with all scales; cells go row by row, levels from
fine to coarse. They are made anew for every batch, by one operator: a table for each size of image would never end.
"""

from __future__ import annotations

import numpy as np

from trainer.device import jt, var
from trainer.models.registry import register

# in0 base anchors (L,R,4)  in1 image shapes (B,2) height, width   out0 anchors (A,4)  out1 inside (B,A)
CPU_HEADER = """
#include <string>
"""
CPU_SOURCE = r"""
    const int64 levels = in0_shape0, ratios = in0_shape1, images = in1_shape0, all = out0_shape0;
    int64 first = 0;
    for (int64 level = 0; level < levels; level++) {
        const std::string number = std::to_string(level);
        const int64 height = data["height" + number], width = data["width" + number], stride = data["stride" + number];
        #pragma omp parallel for
        for (int64 cell = 0; cell < height * width; cell++) {
            const float x = cell % width * stride, y = cell / width * stride;
            for (int64 ratio = 0; ratio < ratios; ratio++) {
                const float* base = in0_p + (level * ratios + ratio) * 4;
                const int64 at = first + cell * ratios + ratio;
                float* anchor = out0_p + at * 4;
                anchor[0] = base[0] + x, anchor[1] = base[1] + y, anchor[2] = base[2] + x, anchor[3] = base[3] + y;
                for (int64 image = 0; image < images; image++)
                    out1_p[image * all + at] = anchor[0] >= 0 && anchor[1] >= 0 && anchor[2] >= 0 && anchor[3] >= 0 &&
                        anchor[0] < in1_p[image * 2 + 1] && anchor[2] < in1_p[image * 2 + 1] &&
                        anchor[1] < in1_p[image * 2] && anchor[3] < in1_p[image * 2];
            }
        }
        first += height * width * ratios;
    }
"""
CUDA_HEADER = r"""
#include <string>
namespace jittor {
__global__ void anchors_of_level(const float* base, const float* shapes, int64 first, int64 all, int64 number,
                                 int64 width, int64 stride, int64 ratios, int64 images, float* anchors, bool* inside) {
    const int64 n = blockIdx.x * (int64)blockDim.x + threadIdx.x;
    if (n >= number) return;
    const float x = n / ratios % width * stride, y = n / ratios / width * stride;
    base += n % ratios * 4;
    float* anchor = anchors + (first + n) * 4;
    anchor[0] = base[0] + x, anchor[1] = base[1] + y, anchor[2] = base[2] + x, anchor[3] = base[3] + y;
    for (int64 image = 0; image < images; image++) {
        const float bottom = shapes[image * 2], right = shapes[image * 2 + 1];
        inside[image * all + first + n] = min(anchor[0], anchor[2]) >= 0 && min(anchor[1], anchor[3]) >= 0 &&
            max(anchor[0], anchor[2]) < right && max(anchor[1], anchor[3]) < bottom;
    }
}
} // namespace jittor
"""
CUDA_SOURCE = r"""
    int64 first = 0;
    for (int64 level = 0; level < in0_shape0; level++) {
        const std::string text = std::to_string(level);
        const int64 width = data["width" + text], number = data["height" + text] * width * in0_shape1;
        if (number == 0) continue;
        anchors_of_level<<<(number + 255) / 256, 256>>>(in0_p + level * in0_shape1 * 4, in1_p, first, out0_shape0,
            number, width, data["stride" + text], in0_shape1, in1_shape0, out0_p, out1_p);
        first += number;
    }
"""


@register
class AnchorGenerator:
    """Anchors of size scale·stride with height/width = ratio (mmdet's AnchorGenerator).

    Attributes:
        base_anchors: f32 (L,R,4), the anchors of the cell at the origin of each level.
    """

    def __init__(self, scales: list[float], ratios: list[float], strides: list[int]) -> None:
        self.strides = [int(stride) for stride in strides]
        scales, ratios = np.asarray(scales, np.float32), np.asarray(ratios, np.float32)
        height_ratios = np.sqrt(ratios)
        width_ratios = 1 / height_ratios
        levels = []
        for stride in self.strides:
            half_widths = 0.5 * (stride * width_ratios[:, None] * scales[None]).ravel()
            half_heights = 0.5 * (stride * height_ratios[:, None] * scales[None]).ravel()
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
        data = {}
        for i, ((height, width), stride) in enumerate(zip(sizes, self.strides, strict=True)):
            data |= {f"height{i}": height, f"width{i}": width, f"stride{i}": stride}
        count = sum(self.counts(sizes))
        anchors, inside = jt.code(
            [(count, 4), (image_shapes.shape[0], count)],
            ["float32", "bool"],
            [self._base, image_shapes],
            cpu_header=CPU_HEADER,
            cpu_src=CPU_SOURCE,
            cuda_header=CUDA_HEADER,
            cuda_src=CUDA_SOURCE,
            data=data,
        )
        return anchors, inside
