"""Batch norm with fixed statistics, an addition and a ReLU behind it, in one pass over the map each way.

    y = (x - mean) · weight / sqrt(var + eps) + bias  [ + shortcut ]  [ , not below 0 ]

Written with Jittor's own operators this is another kernel for nearly every place in a network (what is fused with what
depends on the neighbours), and each runs in one thread. NaN stays NaN, which hides no broken weights.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.models.ops.operator import Operator
from trainer.models.precision import raised

FORWARD = """
    fixed_norm::forward(in0_p, in1_p, in2_p, in3_p, in4_p, {shortcut}, data["eps"], data["relu"] != 0,
                        in0_shape0, in0_shape1, in0_shape2 * in0_shape3, out0_p);
"""
BACKWARD = """
    fixed_norm::backward(in0_p, in1_p, in2_p, in3_p, in4_p, in5_p, data["eps"], data["relu"] != 0,
                         in0_shape0, in0_shape1, in0_shape2 * in0_shape3, out0_p, out1_p, out2_p, {to_shortcut});
"""


class _FixedNorm(Operator):
    def execute(
        self,
        x: jt.Var,
        weight: jt.Var,
        bias: jt.Var,
        mean: jt.Var,
        variance: jt.Var,
        shortcut: jt.Var | None,
        eps: float,
        with_relu: bool,
    ) -> jt.Var:
        inputs = [x, weight, bias, mean, variance, *([] if shortcut is None else [shortcut])]
        self.adds = shortcut is not None
        self.data = {"eps": eps, "relu": float(with_relu)}
        call = FORWARD.replace("{shortcut}", "in5_p" if self.adds else "nullptr")
        y = jt.code(x.shape, x.dtype, inputs, data=self.data, **kernel(__file__, call))
        self.saved = [x, y if with_relu else x, weight, mean, variance]
        return y

    def grad(self, gradient: jt.Var) -> tuple:
        x, _, weight, *_ = self.saved
        of_x, of_weight = (tuple(x.shape), x.dtype), (tuple(weight.shape), "float32")
        shapes, types = zip(of_x, of_weight, of_weight, *([of_x] if self.adds else []), strict=True)
        call = BACKWARD.replace("{to_shortcut}", "out3_p" if self.adds else "nullptr")
        to_x, to_weight, to_bias, *to_shortcut = jt.code(
            list(shapes),
            list(types),
            [gradient, *self.saved],
            data=self.data,
            **kernel(__file__, call),
        )
        return to_x, to_weight, to_bias, None, None, *(to_shortcut or [None]), None, None


def fixed_norm(
    x: jt.Var,
    weight: jt.Var,
    bias: jt.Var,
    mean: jt.Var,
    variance: jt.Var,
    eps: float,
    shortcut: jt.Var | None = None,
    with_relu: bool = False,
) -> jt.Var:
    """See the module's text; gradients for x, weight, bias and shortcut.

    Args:
        x, shortcut: f32, f16 or bf16 (B,C,H,W).
        weight, bias, mean, variance: f32 (C,).

    Returns:
        (B,C,H,W) of x's type, computed in float32.

    Raises:
        ValueError: x has other than C channels, or the shortcut another shape; the kernels would not notice.
    """
    if x.shape[1] != weight.shape[0]:
        raise ValueError(f"a norm of {weight.shape[0]} channels is given a map of {x.shape[1]}")
    if shortcut is not None and tuple(shortcut.shape) != tuple(x.shape):
        raise ValueError(f"a shortcut {tuple(shortcut.shape)} is to be added to a map {tuple(x.shape)}")
    if not jt.flags.use_cuda and x.dtype != "float32":  # the CPU has no kernel for it
        wide = None if shortcut is None else raised(shortcut)
        return fixed_norm(raised(x), weight, bias, mean, variance, eps, wide, with_relu).cast(x.dtype)
    return _FixedNorm.apply(x, weight, bias, mean, variance, shortcut, eps, with_relu)
