"""Loss terms: sums over weighted rows, divided by a normaliser that the caller knows.

Every term is called with tensors of fixed size in which a weight of 0 marks the rows that do not count; none of them
looks at a value on the host.
"""

from __future__ import annotations

from shared.errors import UserError
from trainer.device import jt
from trainer.models.boxes.overlaps import aligned_iou
from trainer.models.ops.top_k import top_k
from trainer.models.registry import register, require
from trainer.models.values import Amount


def log_sum_exp(logits: jt.Var) -> jt.Var:
    """Over the last axis, (..., C) -> (...), with the maximum taken out (Jittor's own overflows at 88)."""
    peak = logits.detach().max(-1, keepdims=True)
    return (logits - peak).exp().sum(-1).log() + peak.squeeze(-1)


def federated_columns(labels: jt.Var, weights: jt.Var, drawable: jt.Var, keys: jt.Var, number: int) -> jt.Var:
    """The classes that take part in a federated loss: those that appear, filled up to `number` by a random draw.

    Where more appear than `number`, all of them take part; where fewer can be drawn than are missing, all of these.

    Args:
        labels: i32 (G,R), the class of each RoI of each group, in [0, C).
        weights: f32 (G,R), 0 for RoIs that do not count.
        drawable: f32 (G,C), 1 for classes that may be drawn.
        keys: f32 (G,C) in [0, 1), the highest are drawn first.

    Returns:
        f32 (G,C), 1 for the classes that take part; no gradient.
    """
    groups, classes = drawable.shape
    one_hot = (jt.index((*labels.shape, classes), 2) == labels.unsqueeze(-1)).float32()
    appeared = (one_hot * weights.unsqueeze(-1)).max(1)
    priority = jt.ternary(appeared > 0, keys + 1.0, jt.ternary(drawable > 0, keys, -1.0))
    order = top_k(priority, min(number, classes))
    first = (jt.index((groups, order.shape[1], classes), 2) == order.unsqueeze(-1)).float32().max(1)
    return jt.maximum(appeared, first * drawable).stop_grad()


@register
class CrossEntropyLoss:
    """Cross entropy of a softmax over the last axis, or (use_sigmoid) of independent logits with targets in [0, 1]."""

    def __init__(self, use_sigmoid: bool = False, loss_weight: Amount = 1.0) -> None:
        self.use_sigmoid = use_sigmoid
        self.loss_weight = float(loss_weight)

    def __call__(self, logits: jt.Var, target: jt.Var, weight: jt.Var, normaliser: jt.Var) -> jt.Var:
        """Σ weight · CE / normaliser · loss_weight.

        Args:
            logits: f32 (..., C), or (...) with use_sigmoid.
            target: i32 (...) class indices in [0, C), or f32 (...) with use_sigmoid.
            weight: f32 (...).
            normaliser: f32 (1,).
        """
        if self.use_sigmoid:
            # log(1 + e^-|x|) form: no overflow for any logit.
            loss = jt.maximum(logits, 0.0) - logits * target + jt.log(1.0 + jt.exp(-jt.abs(logits)))
        else:
            one_hot = (jt.index(logits.shape, logits.ndim - 1) == target.unsqueeze(-1)).float32()
            loss = log_sum_exp(logits) - (logits * one_hot).sum(-1)
        return (loss * weight).sum() / normaliser * self.loss_weight


@register
class L1Loss:
    """Absolute difference."""

    def __init__(self, loss_weight: Amount = 1.0) -> None:
        self.loss_weight = float(loss_weight)

    def __call__(self, prediction: jt.Var, target: jt.Var, weight: jt.Var, normaliser: jt.Var) -> jt.Var:
        """Σ weight · |prediction - target| / normaliser · loss_weight; all f32 of one shape, normaliser (1,)."""
        return (jt.abs(prediction - target) * weight).sum() / normaliser * self.loss_weight


@register
class IoULoss:
    """1 - IoU (linear) or -ln IoU of matching boxes, with the IoU not below 1e-6 (mmdet's IoULoss)."""

    def __init__(
        self,
        linear: bool = False,
        mode: str | None = None,
        eps: float = 1e-6,
        loss_weight: Amount = 1.0,
        where: str = "IoULoss",
    ) -> None:
        require(eps, 1e-6, f"{where}.eps")
        mode = mode or ("linear" if linear else "log")
        if mode not in ("linear", "log"):
            raise UserError(f"{where}.mode: 'linear' or 'log' is expected, found {mode!r}")
        self.linear = mode == "linear"
        self.loss_weight = float(loss_weight)

    def __call__(self, prediction: jt.Var, target: jt.Var, weight: jt.Var, normaliser: jt.Var) -> jt.Var:
        """Σ weight · loss / normaliser · loss_weight.

        Args:
            prediction, target: f32 (..., 4) boxes.
            weight: f32 (...).
            normaliser: f32 (1,).
        """
        iou = jt.maximum(aligned_iou(prediction, target), 1e-6)
        loss = 1.0 - iou if self.linear else -jt.log(iou)
        return (loss * weight).sum() / normaliser * self.loss_weight
