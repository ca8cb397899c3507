"""ReLU and unit length over the channels of every cell, in one pass over the map each way.

    z = max(x + bias, 0)        y = z / max(|z|, TINY)        |z| over the channels of a cell

Written with Jittor's own operators this is a dozen kernels forward and backward, each in one thread. A cell whose
length is below TINY passes its gradient on as if it were divided by a constant; that of a zero is zero.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.models.ops.operator import Operator

FORWARD = """
    unit_features::forward(in0_p, in1_p, in0_shape0, in0_shape1, in0_shape2 * in0_shape3, out0_p, out1_p);
"""
BACKWARD = """
    unit_features::backward(in0_p, in1_p, in2_p, in0_shape0, in0_shape1, in0_shape2 * in0_shape3, out0_p, out1_p);
"""


class _UnitFeatures(Operator):
    def execute(self, x: jt.Var, bias: jt.Var) -> jt.Var:
        batch, _, height, width = x.shape
        y, inverse = jt.code(
            [tuple(x.shape), (batch, height, width)],
            ["float32", "float32"],
            [x, bias],
            **kernel(__file__, FORWARD),
        )
        self.saved = (y, inverse)
        return y

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, jt.Var]:
        shape = tuple(gradient.shape)
        return tuple(
            jt.code(
                [shape, (shape[1],)],
                ["float32", "float32"],
                [gradient, *self.saved],
                **kernel(__file__, BACKWARD),
            )
        )


def unit_features(x: jt.Var, bias: jt.Var) -> jt.Var:
    """See the module's text.

    Args:
        x: f32 (B,C,H,W).
        bias: f32 (C,).

    Returns:
        f32 (B,C,H,W).
    """
    return _UnitFeatures.apply(x, bias)
