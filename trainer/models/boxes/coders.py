"""Box coders: a box relative to another (an anchor or a RoI), as four numbers that a network predicts.

delta   (dx, dy, dw, dh): shift of the centre in box sizes and logarithm of the size ratio, standardised
TBLR    (t, b, l, r): distances from the anchor's centre to the box's top, bottom, left and right edge, in anchor sizes
"""

from __future__ import annotations

import math

from trainer.device import jt, var
from trainer.device.in_order import sums_in_order
from trainer.models.boxes.columns import corners, from_corners
from trainer.models.ops.operator import Operator
from trainer.models.registry import register, require
from trainer.models.values import Four, FourPositives, Positive

LARGEST_LOG_RATIO = abs(math.log(16 / 1000))  # decoded boxes are at most this many times (e^4.135 = 62.5) larger
SMALLEST_SIDE = 1e-6  # so that a box without area, which is never a positive, gets finite deltas


@register
class DeltaXYWHBBoxCoder:
    """mmdet's DeltaXYWHBBoxCoder with means 0."""

    def __init__(
        self,
        target_means: Four = (0.0, 0.0, 0.0, 0.0),
        target_stds: FourPositives = (1.0, 1.0, 1.0, 1.0),
        clip_border: bool = True,
        where: str = "DeltaXYWHBBoxCoder",
    ) -> None:
        require(list(target_means), [0.0] * 4, f"{where}.target_means")
        require(clip_border, True, f"{where}.clip_border")
        self.stds = var([[target_stds]], "float32").stop_grad()

    def encode(self, boxes: jt.Var, targets: jt.Var) -> jt.Var:
        """Deltas f32 (B,N,4) that turn `boxes` into `targets`, both (B,N,4)."""
        (low, high), (target_low, target_high) = corners(boxes), corners(targets)
        size = jt.maximum(high - low, SMALLEST_SIDE)
        shift = ((target_low + target_high) - (low + high)) * 0.5 / size
        return from_corners(shift, jt.log(jt.maximum(target_high - target_low, SMALLEST_SIDE) / size)) / self.stds

    def decode(self, boxes: jt.Var, deltas: jt.Var) -> jt.Var:
        """Boxes f32 (B,N,4) from `boxes` and `deltas` (B,N,4); not clipped."""
        low, high = corners(boxes)
        shift, growth = corners(deltas * self.stds)
        centre = (low + high) * 0.5 + (high - low) * shift
        half_size = (high - low) * jt.exp(jt.clamp(growth, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)) * 0.5
        return from_corners(centre - half_size, centre + half_size)


@register
class TBLRBBoxCoder:
    """mmdet's TBLRBBoxCoder with normalize_by_wh: nothing keeps a decoded side positive."""

    def __init__(self, normalizer: Positive = 1.0, clip_border: bool = True, where: str = "TBLRBBoxCoder") -> None:
        require(clip_border, True, f"{where}.clip_border")
        self.normalizer = float(normalizer)

    def encode(self, boxes: jt.Var, targets: jt.Var) -> jt.Var:
        """Distances (t, b, l, r) f32 (B,N,4) from the centres of `boxes` to the edges of `targets`, both (B,N,4)."""
        low, high = corners(boxes)
        size = (high - low) * self.normalizer
        to_low, to_high = distances(boxes, targets)
        # (l, t, r, b) -> (t, b, l, r): column j comes from 1, 3, 0, 2.
        return from_corners(to_low / size, to_high / size).reindex(targets.shape, ["i0", "i1", "(i2*2+1)%5"])

    def decode(self, boxes: jt.Var, codes: jt.Var) -> jt.Var:
        """Boxes f32 (B,N,4) from anchors `boxes` and distances `codes` (B,N,4); not clipped."""
        low, high = corners(boxes)
        centre, size = (low + high) * 0.5, (high - low) * self.normalizer
        to_low, to_high = corners((_CornersInOrder.apply if sums_in_order() else _by_corners)(codes))
        return from_corners(centre - to_low * size, centre + to_high * size)


def _by_corners(codes: jt.Var) -> jt.Var:
    """(t, b, l, r) -> (l, t, r, b): column j comes from 2, 0, 3, 1."""
    return codes.reindex(codes.shape, ["i0", "i1", "(i2*3+2)%5"])


class _CornersInOrder(Operator):
    """Its gradient goes back by places, where Jittor's adds each number to one, as if there were several."""

    def execute(self, codes: jt.Var) -> jt.Var:
        return _by_corners(codes)

    def grad(self, gradient: jt.Var) -> jt.Var:
        return gradient.reindex(gradient.shape, ["i0", "i1", "(i2*2+1)%5"])


def distances(boxes: jt.Var, targets: jt.Var) -> tuple[jt.Var, jt.Var]:
    """From the centres of `boxes` to the edges of `targets`, both f32 (B,N,4), in pixels.

    Returns:
        (left, top) and (right, bottom), each (B,N,2).
    """
    (low, high), (target_low, target_high) = corners(boxes), corners(targets)
    centre = (low + high) * 0.5
    return centre - target_low, target_high - centre


def centerness(boxes: jt.Var, targets: jt.Var) -> jt.Var:
    """How central a box's centre is in its target: sqrt(min(t,b)/max(t,b) · min(l,r)/max(l,r)), 0 if the centre is
    outside.

    Args:
        boxes, targets: f32 (B,N,4).

    Returns:
        f32 (B,N), in [0, 1].
    """
    to_low, to_high = distances(boxes, targets)
    ratio = jt.maximum(jt.minimum(to_low, to_high), 0.0) / (jt.maximum(to_low, to_high) + 1e-12)
    return jt.sqrt(jt.maximum(ratio[:, :, 0] * ratio[:, :, 1], 0.0))
