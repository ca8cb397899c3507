"""Means of 2x2 pixels; Jittor's own refuses maps of 2 pixels, and its general reductions run in one thread."""

from __future__ import annotations

from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.models.ops.operator import Operator
from trainer.models.precision import raised


class _AveragePool(Operator):
    def execute(self, x: jt.Var) -> jt.Var:
        self.shape = tuple(x.shape)
        batch, channels, height, width = self.shape
        shape = (batch, channels, height // 2, width // 2)
        call = "average_pool::forward(in0_p, in0_shape0 * in0_shape1, in0_shape2, in0_shape3, out0_p);"
        return jt.code(shape, x.dtype, [x], **kernel(__file__, call))

    def grad(self, gradient: jt.Var) -> jt.Var:
        call = "average_pool::backward(in0_p, out0_shape0 * out0_shape1, out0_shape2, out0_shape3, out0_p);"
        return jt.code(self.shape, gradient.dtype, [gradient], **kernel(__file__, call))


def average_pool(x: jt.Var) -> jt.Var:
    """Means of 2x2 pixels, f32, f16 or bf16 (B,C,H,W) -> (B,C,H//2,W//2); an odd last row or column is dropped.

    torch's AvgPool2d(2).
    """
    if not jt.flags.use_cuda and x.dtype != "float32":  # the CPU has no kernel for it
        return average_pool(raised(x)).cast(x.dtype)
    return _AveragePool.apply(x)
