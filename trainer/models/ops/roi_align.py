"""RoIAlign on all levels of a feature pyramid at once: aligned (half-pixel shift), average, adaptive sampling.

A bin of a RoI averages ceil(bin height) x ceil(bin width) bilinear samples. Bilinear weights are products of a weight
in y and one in x, so a bin is
        out[p, q] = Σ_y Wy[p, y] · Σ_x Wx[q, x] · map[y, x]
with a few consecutive non-zero y and x. The CPU computes Wy and Wx once per RoI and uses them for every channel: the
inner loop runs along contiguous pixels. Its gradient is parallel over channels, which needs no atomics and always
adds in the same order. The GPU takes one thread per output number; of its gradient, which adds in any order then, or,
where sums are made in one order, one thread per cell of a RoI, one RoI after another, which is parallel over channels
alone.

A sample more than one pixel outside the map counts as 0, others are moved onto its border. A RoI of zero or negative
width or height has no samples and yields zeros (mmcv's CUDA operator; its CPU operator raises an error).
"""

from __future__ import annotations

from trainer.device import jt
from trainer.device.in_order import sums_in_order
from trainer.device.kernels import kernel
from trainer.models.ops.operator import Operator

FORWARD = """
    roi_align::forward(in0_p, in1_p, {maps}, in0_shape0, out0_shape1, out0_shape2, out0_shape3, out0_p);
"""
BACKWARD = """
    roi_align::backward(in0_p, in1_p, in2_p, in0_shape0, out0_shape0, in2_shape1, in2_shape2, in2_shape3, {maps});
"""


MOST_BINS = 64  # of a gradient whose sums are made in one order


def _with_maps(call: str, name: str, first: int, count: int) -> dict[str, str]:
    """The kernel of `call`, in which {maps} are Jittor's variables `name`{first}.. with their scales."""
    maps = (
        f'{{{name}{first + i}_p, {name}{first + i}_shape2, {name}{first + i}_shape3, data["scale{i}"]}}'
        for i in range(count)
    )
    return kernel(__file__, call.replace("{maps}", "{" + ", ".join(maps) + "}"))


class _RoIAlign(Operator):
    def execute(
        self, rois: jt.Var, levels: jt.Var, output_size: int, scales: tuple[float, ...], *maps: jt.Var
    ) -> jt.Var:
        self.rois, self.levels = rois, levels
        self.shapes = [tuple(feature_map.shape) for feature_map in maps]
        self.scales = {f"scale{i}": scale for i, scale in enumerate(scales)}
        return jt.code(
            (rois.shape[0], maps[0].shape[1], output_size, output_size),
            "float32",
            [rois, levels, *maps],
            data=self.scales,
            **_with_maps(FORWARD, "in", 2, len(maps)),
        )

    def grad(self, gradient: jt.Var) -> tuple:
        count = len(self.shapes)
        sources = _with_maps(BACKWARD, "out", 0, count)
        if sums_in_order():
            sources["cuda_src"] = sources["cuda_src"].replace("::backward(", "::backward_in_order(")
        gradients = jt.code(
            self.shapes,
            ["float32"] * count,
            [self.rois, self.levels, gradient],
            data=self.scales,
            **sources,
        )
        return (None, None, None, None, *gradients)


def roi_align(maps: list[jt.Var], strides: list[float], rois: jt.Var, levels: jt.Var, output_size: int) -> jt.Var:
    """Features of each RoI from its level.

    Args:
        maps: f32 (B,C,h,w), one per level (at most 8), with `strides` pixels per cell.
        rois: f32 (K,5): image index, x1, y1, x2, y2 in pixels; no gradient.
        levels: i32 (K,), each RoI's map; -1 for none (zeros).
        output_size: bins per side, P.

    Returns:
        f32 (K,C,P,P).

    Raises:
        ValueError: `output_size` is above 64, and sums are made in one order on a GPU.
    """
    if sums_in_order() and output_size > MOST_BINS:
        raise ValueError(f"randomness.deterministic: RoIs of {output_size} bins a side; on a GPU at most {MOST_BINS}")
    scales = tuple(1.0 / stride for stride in strides)
    return _RoIAlign.apply(rois.stop_grad(), levels.stop_grad(), output_size, scales, *maps)
