"""Convolution with a square kernel; on the CPU straight by oneDNN.

Jittor writes a convolution as a product of seven-dimensional broadcasts and a sum, and finds out anew in each step that
oneDNN has an operator for that; the form that is not used is compiled all the same, for every kernel size and stride,
forward and backward twice. cuDNN's operators are found in the same way, which stays as it is.
"""

from __future__ import annotations

from trainer.device import jt, nn

LAYOUT = ("abcd", "oihw", "abcd")  # of x, weight and y: plain, as everywhere else


class _Convolution(jt.Function):
    def execute(self, x: jt.Var, weight: jt.Var, stride: int, padding: int) -> jt.Var:
        self.x, self.weight = x, weight
        self.geometry = (stride, stride, padding, padding, 1, 1, 1, *LAYOUT)
        return jt.mkl_ops.mkl_conv(x, weight, *self.geometry)

    def grad(self, gradient: jt.Var) -> tuple:
        height, width = self.x.shape[2:]
        size = self.weight.shape[2]
        # What nobody asks for is never computed.
        return (
            jt.mkl_ops.mkl_conv_backward_x(self.weight, gradient, height, width, *self.geometry),
            jt.mkl_ops.mkl_conv_backward_w(self.x, gradient, size, size, *self.geometry),
            None,
            None,
        )


def convolve(x: jt.Var, weight: jt.Var, bias: jt.Var | None = None, stride: int = 1, padding: int = 0) -> jt.Var:
    """x f32 (B,I,H,W), weight f32 (O,I,k,k), bias f32 (O,) -> f32 (B,O,H',W')."""
    if jt.flags.use_cuda or jt.mkl_ops is None:
        return nn.conv2d(x, weight, bias, stride, padding)
    y = _Convolution.apply(x, weight, stride, padding)
    return y if bias is None else y + bias.broadcast(y, [0, 2, 3])
