"""Convolution with a square kernel, straight by oneDNN or, on a GPU, by cuDNN, without detours.

Jittor writes a convolution as a product of seven-dimensional broadcasts and a sum, finds out anew in each step that
oneDNN has an operator for that, but compiles the unused form as well, for every kernel size and stride.
That operator then spends more time on bringing maps and weights into oneDNN's blocked layout and back than on the
convolution. Here

    1x1, stride 1    is a matrix product per image, which needs no other layout
    others           are oneDNN's; back from blocks of 16 channels it goes in tiles that stay in the cache
    backward         is one operator, which brings the gradient into blocks once

Jittor's operators for cuDNN choose their algorithms by stopwatch, anew for each size, and add up numbers of two bytes
in two bytes. Here cuDNN's own ranking chooses, unless `trainer.device.mode` says otherwise, and all sums are in
float32: on a GPU by cuDNN, on the CPU because the numbers are brought into float32 first, and rounded once at the end.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.device.mode import chosen
from trainer.models.ops.onednn import onednn
from trainer.models.ops.operator import Operator
from trainer.models.precision import in_type, raised


def _geometry(x: str, weight: str, y: str) -> str:
    """C++ that names the geometry of a convolution whose maps and weights Jittor calls by these names."""
    shapes = ("{" + ", ".join(f"{name}_shape{axis}" for axis in range(4)) + "}" for name in (x, weight, y))
    return f'const convolution::Geometry the({", ".join(shapes)}, data["stride"], data["padding"]);'


FORWARD = _geometry("in0", "in1", "out0") + " convolution::forward(the, in0_p, in1_p, out0_p{choice});"
BACKWARD = _geometry("in1", "in2", "in0") + " convolution::backward(the, in0_p, in1_p, in2_p, out0_p, {to_x}{choice});"
CHOICE = ', {data["workspace"], data["deterministic"], data["by_stopwatch"]}'
WORKSPACE = 0.02  # of the card, for an algorithm of cuDNN's


def _code(shapes: list[tuple[int, ...]], inputs: list[jt.Var], call: str, data: Mapping[str, float]) -> list[jt.Var]:
    """Outputs of the inputs' type."""
    sources = kernel(__file__, call.replace("{choice}", ""))
    if not jt.flags.use_cuda:
        return onednn(shapes, inputs, sources, data)
    sources["cuda_src"] = call.replace("{choice}", CHOICE)
    choice = {name: float(value) for name, value in vars(chosen()).items()}
    data = {**data, "workspace": WORKSPACE, **choice}
    return jt.code(shapes, [str(inputs[0].dtype)] * len(shapes), inputs, data=data, **sources)


class _Convolution(Operator):
    def execute(self, x: jt.Var, weight: jt.Var, stride: int, padding: int) -> jt.Var:
        self.x, self.weight, self.data = x, weight, {"stride": stride, "padding": padding}
        self.differentiates_x = not x.is_stop_grad()
        size = weight.shape[2]
        height, width = ((length + 2 * padding - size) // stride + 1 for length in x.shape[2:])
        shape = (x.shape[0], weight.shape[0], height, width)
        return _code([shape], [x, weight], FORWARD, self.data)[0]

    def grad(self, gradient: jt.Var) -> tuple:
        shapes = [tuple(self.weight.shape)]
        if self.differentiates_x:
            shapes.append(tuple(self.x.shape))
        call = BACKWARD.replace("{to_x}", "out1_p" if self.differentiates_x else "nullptr")
        to_weight, *to_x = _code(shapes, [gradient, self.x, self.weight], call, self.data)
        return to_x[0] if to_x else None, to_weight, None, None


def convolve(x: jt.Var, weight: jt.Var, bias: jt.Var | None = None, stride: int = 1, padding: int = 0) -> jt.Var:
    """x (B,I,H,W) of f32, f16 or bf16, weight f32 (O,I,k,k), bias f32 (O,) -> (B,O,H',W') of x's type; sums are f32.

    Raises:
        ValueError: x has other than I channels; the kernels would not notice.
    """
    if x.shape[1] != weight.shape[1]:
        raise ValueError(f"a convolution of {weight.shape[1]} channels is given a map of {x.shape[1]}")
    weight = in_type(weight, x.dtype)
    if jt.flags.use_cuda:
        y = _Convolution.apply(x, weight, stride, padding)
    else:
        y = in_type(_Convolution.apply(raised(x), raised(weight), stride, padding), x.dtype)
    # Jittor gives both parts of a sum the gradient of the sum, whatever their types are.
    return y if bias is None else in_type(raised(y) + bias.broadcast(y, [0, 2, 3]), x.dtype)
