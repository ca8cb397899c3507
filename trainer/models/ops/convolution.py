"""Convolution with a square kernel; on the CPU straight by oneDNN, without detours.

Jittor writes a convolution as a product of seven-dimensional broadcasts and a sum, finds out anew in each step that
oneDNN has an operator for that, but compiles the unused form as well, for every kernel size and stride.
That operator then spends more time on bringing maps and weights into oneDNN's blocked layout and back than on the
convolution. Here

    1x1, stride 1    is a matrix product per image, which needs no other layout
    others           are oneDNN's; back from blocks of 16 channels it goes in tiles that stay in the cache
    backward         is one operator, which brings the gradient into blocks once

On a GPU cuDNN's operators are called by name, too. Their own gradient takes the height for the number of channels.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.models.ops.onednn import onednn
from trainer.models.ops.operator import Operator
from trainer.models.precision import in_type, raised


def _geometry(x: str, weight: str, y: str) -> str:
    """C++ that names the geometry of a convolution whose maps and weights Jittor calls by these names."""
    shapes = ("{" + ", ".join(f"{name}_shape{axis}" for axis in range(4)) + "}" for name in (x, weight, y))
    return f'const convolution::Geometry the({", ".join(shapes)}, data["stride"], data["padding"]);'


FORWARD = _geometry("in0", "in1", "out0") + " convolution::forward(the, in0_p, in1_p, out0_p);"
BACKWARD = _geometry("in1", "in2", "in0") + " convolution::backward(the, in0_p, in1_p, in2_p, out0_p, {to_x});"


class _Convolution(Operator):
    def execute(self, x: jt.Var, weight: jt.Var, stride: int, padding: int) -> jt.Var:
        self.x, self.weight, self.data = x, weight, {"stride": stride, "padding": padding}
        self.differentiates_x = not x.is_stop_grad()
        size = weight.shape[2]
        height, width = ((length + 2 * padding - size) // stride + 1 for length in x.shape[2:])
        shape = (x.shape[0], weight.shape[0], height, width)
        return onednn([shape], [x, weight], kernel(__file__, FORWARD), self.data)[0]

    def grad(self, gradient: jt.Var) -> tuple:
        shapes = [tuple(self.weight.shape)]
        if self.differentiates_x:
            shapes.append(tuple(self.x.shape))
        call = BACKWARD.replace("{to_x}", "out1_p" if self.differentiates_x else "nullptr")
        to_weight, *to_x = onednn(shapes, [gradient, self.x, self.weight], kernel(__file__, call), self.data)
        return to_x[0] if to_x else None, to_weight, None, None


class _OfCudnn(Operator):
    def execute(self, x: jt.Var, weight: jt.Var, stride: int, padding: int) -> jt.Var:
        self.x, self.weight, self.geometry = x, weight, (stride, stride, padding, padding, 1, 1, 1)
        return jt.compile_extern.cudnn_ops.cudnn_conv(x, weight, *self.geometry)

    def grad(self, gradient: jt.Var) -> tuple:
        cudnn = jt.compile_extern.cudnn_ops
        to_x = cudnn.cudnn_conv_backward_x(self.weight, gradient, *self.x.shape[2:], *self.geometry)
        to_weight = cudnn.cudnn_conv_backward_w(self.x, gradient, *self.weight.shape[2:], *self.geometry)
        return to_x, to_weight, None, None


def convolve(x: jt.Var, weight: jt.Var, bias: jt.Var | None = None, stride: int = 1, padding: int = 0) -> jt.Var:
    """x (B,I,H,W) of f32, f16 or bf16, weight f32 (O,I,k,k), bias f32 (O,) -> (B,O,H',W') of x's type.

    Raises:
        ValueError: x has other than I channels; the kernels would not notice.
    """
    if x.shape[1] != weight.shape[1]:
        raise ValueError(f"a convolution of {weight.shape[1]} channels is given a map of {x.shape[1]}")
    weight = in_type(weight, x.dtype)
    if jt.flags.use_cuda:
        y = _OfCudnn.apply(x, weight, stride, padding)
    else:
        y = in_type(_Convolution.apply(raised(x), raised(weight), stride, padding), x.dtype)
    # Jittor gives both parts of a sum the gradient of the sum, whatever their types are.
    return y if bias is None else in_type(raised(y) + bias.broadcast(y, [0, 2, 3]), x.dtype)
