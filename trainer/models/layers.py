"""Small layers that every part of a model shares, each for a reason Jittor's own does not meet.

``relu`` keeps NaN, the batch norm has fixed statistics and fuses into its neighbours, nearest upsampling needs one
kernel for all sizes.
"""

from __future__ import annotations

import math

from trainer.device import jt, nn


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

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,C,H,W) -> f32 (B,C,H,W)."""
        scale = self.weight / jt.sqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        return x * scale.broadcast(x, [0, 2, 3]) + shift.broadcast(x, [0, 2, 3])


def unit_length(x: jt.Var, axis: int) -> jt.Var:
    """Vectors along `axis` divided by their length, or by 1e-12 where it is smaller (a zero vector stays zero)."""
    # The maximum is inside the root: the gradient of a root at 0 is not a number.
    return x / jt.sqrt(jt.maximum((x * x).sum(axis, keepdims=True), 1e-24))


def average_pool(x: jt.Var) -> jt.Var:
    """Means of 2x2 pixels, (B,C,H,W) -> (B,C,H//2,W//2); an odd last row or column is dropped.

    torch's AvgPool2d(2). Jittor's own refuses maps of 2 pixels.
    """
    batch, channels, height, width = x.shape
    cells = x.reindex([batch, channels, height // 2, width // 2, 2, 2], ["i0", "i1", "i2*2+i4", "i3*2+i5"])
    return cells.sum([4, 5]) * 0.25


def upsample_nearest(coarse: jt.Var, height: int, width: int) -> jt.Var:
    """Nearest upsampling to the next finer level, (B,C,h,w) -> (B,C,height,width) with height 2h or 2h-1, likewise
    width.

    For both, source = target // 2 is exactly floor(target * h / height), torch's rule.
    """
    return coarse.reindex([coarse.shape[0], coarse.shape[1], height, width], ["i0", "i1", "i2/2", "i3/2"])


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True) -> nn.Conv:
    """A square convolution that keeps the size at stride 1."""
    return nn.Conv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias)


def init_kaiming(conv: nn.Conv) -> None:
    """mmengine's KaimingInit defaults: normal, fan_out, gain of ReLU; bias 0."""
    outputs, _, height, width = conv.weight.shape
    conv.weight.assign(jt.init.gauss(conv.weight.shape, "float32", 0.0, math.sqrt(2.0 / (outputs * height * width))))
    if conv.bias is not None:
        conv.bias.assign(jt.zeros(outputs))


def init_xavier_uniform(conv: nn.Conv) -> None:
    """mmengine's XavierInit with distribution='uniform': +-sqrt(6 / (fan_in + fan_out)); bias 0."""
    outputs, inputs, height, width = conv.weight.shape
    bound = math.sqrt(6.0 / ((inputs + outputs) * height * width))
    conv.weight.assign(jt.init.uniform(conv.weight.shape, "float32", -bound, bound))
    conv.bias.assign(jt.zeros(outputs))


def init_normal(layer: nn.Module, std: float) -> None:
    """mmengine's NormalInit: weight N(0, std), bias 0."""
    layer.weight.assign(jt.init.gauss(layer.weight.shape, "float32", 0.0, std))
    layer.bias.assign(jt.zeros(layer.bias.shape))
