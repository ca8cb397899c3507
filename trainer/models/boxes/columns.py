"""Boxes taken apart and put together: corners as pairs (x, y), rows picked by index, the bounds of an image's content.

Pairs are half as many tensors as single coordinates, and x and y go through the same kernel.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.device.in_order import sums_in_order
from trainer.device.kernels import kernel
from trainer.models.ops.operator import Operator


def corners(boxes: jt.Var) -> tuple[jt.Var, jt.Var]:
    """(B,N,4) -> left top and right bottom corners, each (B,N,2)."""
    return boxes[:, :, :2], boxes[:, :, 2:]


def from_corners(left_top: jt.Var, right_bottom: jt.Var) -> jt.Var:
    """Two (B,N,2) -> (B,N,4)."""
    return jt.concat([left_top, right_bottom], -1)


def product(sides: jt.Var) -> jt.Var:
    """Width times height, (B,N,2) -> (B,N)."""
    return sides[:, :, 0] * sides[:, :, 1]


def bounds(image_shapes: jt.Var, count: int) -> jt.Var:
    """Each image's width, height, width, height for `count` boxes: f32 (B,2) height, width -> (B,count,4)."""
    return image_shapes.reindex([image_shapes.shape[0], count, 4], ["i0", "(i2+1)%2"])


def clip(boxes: jt.Var, image_shapes: jt.Var) -> jt.Var:
    """Boxes f32 (B,N,4) cut to each image's content, image_shapes f32 (B,2) height, width."""
    return jt.minimum(jt.maximum(boxes, 0.0), bounds(image_shapes, boxes.shape[1]))


class _GatherInOrder(Operator):
    """Its gradient adds rows up in the order in which they were picked."""

    def execute(self, values: jt.Var, index: jt.Var) -> jt.Var:
        self.shape, self.index = tuple(values.shape), index
        return _gathered(values, index)

    def grad(self, gradient: jt.Var) -> tuple:
        return jt.code(self.shape, "float32", [gradient, self.index], **kernel(__file__, GRADIENT)), None


GRADIENT = "columns::add_rows(in0_p, in1_p, in1_shape0, in1_shape1, in0->num / in1->num, out0->num, out0_p);"


def _gathered(values: jt.Var, index: jt.Var) -> jt.Var:
    return values.reindex([*index.shape, *values.shape[2:]], ["i0", "@e0(i0,i1)", "i2"][: values.ndim], extras=[index])


def gather_rows(values: jt.Var, index: jt.Var) -> jt.Var:
    """Rows of each image by index; gradients of a row that is picked several times add up.

    Args:
        values: (B,N,D) or (B,N).
        index: i32 (B,K), in [0, N).

    Returns:
        (B,K,D) or (B,K).
    """
    return (_GatherInOrder.apply if sums_in_order() else _gathered)(values, index)


def pick_rows(table: jt.Var, index: jt.Var) -> jt.Var:
    """Rows of one table for all images by index, no gradient.

    Args:
        table: (N,D).
        index: i32 (B,K), in [0, N).

    Returns:
        (B,K,D).
    """
    return table.reindex([*index.shape, table.shape[1]], ["@e0(i0,i1)", "i2"], extras=[index]).stop_grad()
