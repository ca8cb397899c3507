"""Small layers that every part of a model shares, each for a reason Jittor's own does not meet.

``relu`` keeps NaN, the batch norm has fixed statistics and takes its neighbours along, nearest upsampling needs one
kernel for all sizes, a deconvolution of 2x2 is a product.
"""

from __future__ import annotations

import math

import numpy as np

from trainer.device import jt, nn, var
from trainer.device.in_order import sums_in_order
from trainer.models.ops.convolution import convolve
from trainer.models.ops.fixed_norm import fixed_norm
from trainer.models.ops.operator import Operator


def relu(x: jt.Var) -> jt.Var:
    """max(x, 0), same shape; NaN stays NaN (Jittor's own turns it into 0, which hides broken weights)."""
    return jt.maximum(x, 0.0)


class FixedBatchNorm(nn.Module):
    """Batch norm with fixed running statistics: an affine map per channel whose `weight` and `bias` train (mmdet's
    norm_eval=True)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        self.weight = jt.ones(channels)
        self.bias = jt.zeros(channels)
        self.running_mean = jt.zeros(channels).stop_grad()
        self.running_var = jt.ones(channels).stop_grad()
        self.eps = eps

    def execute(self, x: jt.Var, shortcut: jt.Var | None = None, with_relu: bool = False) -> jt.Var:
        """The norm of x, then `shortcut` (of the same shape) added, then a ReLU, as far as asked for; all f32
        (B,C,H,W)."""
        statistics = (self.running_mean, self.running_var)
        return fixed_norm(x, self.weight, self.bias, *statistics, self.eps, shortcut, with_relu)


class LayerNorm(nn.LayerNorm):
    """Layer norm over the last axis; the variance is that of the differences from the mean, because the difference of
    mean squares, Jittor's own way, loses its digits where the mean is large."""

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (...,C) -> f32 (...,C)."""
        centred = x - x.mean(-1, keepdims=True)
        return centred / jt.sqrt((centred * centred).mean(-1, keepdims=True) + self.eps) * self.weight + self.bias


class GELU(nn.Module):
    """x · Φ(x), exact."""

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (...,C) -> f32 (...,C)."""
        return x * 0.5 * (1.0 + jt.erf(x * math.sqrt(0.5)))


def unit_length(x: jt.Var, axis: int) -> jt.Var:
    """Vectors along `axis` divided by their length, or by 1e-12 where it is smaller (a zero vector stays zero)."""
    # The maximum is inside the root: the gradient of a root at 0 is not a number.
    return x / jt.sqrt(jt.maximum((x * x).sum(axis, keepdims=True), 1e-24))


class _UpsampleInOrder(Operator):
    """Its gradient adds up each cell's four places, where Jittor's adds each place to its cell."""

    def execute(self, coarse: jt.Var, height: int, width: int) -> jt.Var:
        self.shape = coarse.shape
        return _upsampled(coarse, height, width)

    def grad(self, gradient: jt.Var) -> tuple:
        places = ((y, x) for y in range(2) for x in range(2))
        parts = [gradient.reindex(self.shape, ["i0", "i1", f"i2*2+{y}", f"i3*2+{x}"]) for y, x in places]
        return parts[0] + parts[1] + parts[2] + parts[3], None, None


def _upsampled(coarse: jt.Var, height: int, width: int) -> jt.Var:
    return coarse.reindex([coarse.shape[0], coarse.shape[1], height, width], ["i0", "i1", "i2/2", "i3/2"])


def upsample_nearest(coarse: jt.Var, height: int, width: int) -> jt.Var:
    """Nearest upsampling to the next finer level, (B,C,h,w) -> (B,C,height,width) with height 2h or 2h-1, likewise
    width.

    For both, source = target // 2 is exactly floor(target * h / height), torch's rule.
    """
    return (_UpsampleInOrder.apply if sums_in_order() else _upsampled)(coarse, height, width)


class Convolution(nn.Conv):
    """A square convolution that keeps the size at stride 1, f32 (B,I,H,W) -> (B,O,H',W')."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias)

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,I,H,W) -> f32 (B,O,H',W')."""
        return convolve(x, self.weight, self.bias, self.stride[0], self.padding[0])


class Deconvolution(nn.Module):
    """Four places of each, torch's ConvTranspose2d(inputs, outputs, 2, stride=2): a product, because no place is made
    by two. Maps have their channels last.

    Attributes:
        weight: f32 (inputs,outputs,2,2), drawn as torch does.
        bias: f32 (outputs,), likewise.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        bound = (4 * outputs) ** -0.5
        self.weight = var(np.random.uniform(-bound, bound, (inputs, outputs, 2, 2)), "float32")
        self.bias = var(np.random.uniform(-bound, bound, outputs), "float32")

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,H,W,I) -> f32 (B,2H,2W,O)."""
        batch, height, width, inputs = x.shape
        outputs = self.weight.shape[1]
        y = jt.matmul(x.reshape(batch * height * width, inputs), self.weight.reshape(inputs, outputs * 4))
        y = y.reshape(batch, height, width, outputs, 2, 2).transpose(0, 1, 4, 2, 5, 3)
        return y.reshape(batch, 2 * height, 2 * width, outputs) + self.bias


def gaussian(shape: tuple[int, ...], std: float) -> jt.Var:
    """Random numbers f32 N(0, std), drawn on the host (on the device every kind of shape has a kernel of its own)."""
    return var(np.random.normal(0.0, std, shape), "float32")


def init_kaiming(conv: nn.Conv) -> None:
    """mmengine's KaimingInit defaults: normal, fan_out, gain of ReLU; bias 0."""
    outputs, _, height, width = conv.weight.shape
    conv.weight.assign(gaussian(conv.weight.shape, math.sqrt(2.0 / (outputs * height * width))))
    if conv.bias is not None:
        conv.bias.assign(jt.zeros(outputs))


def init_xavier_uniform(conv: nn.Conv) -> None:
    """mmengine's XavierInit with distribution='uniform': +-sqrt(6 / (fan_in + fan_out)); bias 0."""
    outputs, inputs, height, width = conv.weight.shape
    bound = math.sqrt(6.0 / ((inputs + outputs) * height * width))
    conv.weight.assign(var(np.random.uniform(-bound, bound, conv.weight.shape), "float32"))
    conv.bias.assign(jt.zeros(outputs))


def init_normal(layer: nn.Module, std: float) -> None:
    """mmengine's NormalInit: weight N(0, std), bias 0."""
    layer.weight.assign(gaussian(layer.weight.shape, std))
    layer.bias.assign(jt.zeros(layer.bias.shape))
