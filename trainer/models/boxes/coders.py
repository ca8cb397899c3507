"""Box coders: a box relative to another (an anchor or a RoI), as four numbers that a network predicts.

delta   (dx, dy, dw, dh): shift of the centre in box sizes and logarithm of the size ratio, standardised
TBLR    (t, b, l, r): distances from the anchor's centre to the box's top, bottom, left and right edge, in anchor sizes
"""

from __future__ import annotations

import math

from trainer.device import jt
from trainer.models.boxes.columns import join, split
from trainer.models.registry import register, require

LARGEST_LOG_RATIO = abs(math.log(16 / 1000))  # decoded boxes are at most this many times (e^4.135 = 62.5) larger


def clip(boxes: jt.Var, image_shapes: jt.Var) -> jt.Var:
    """Boxes f32 (B,N,4) cut to each image's content; image_shapes f32 (B,2) height, width."""
    height, width = image_shapes[:, 0:1], image_shapes[:, 1:2]
    x1, y1, x2, y2 = split(boxes)
    return join(
        *(jt.minimum(jt.maximum(v, 0.0), bound) for v, bound in ((x1, width), (y1, height), (x2, width), (y2, height)))
    )


def centres_and_sizes(boxes: jt.Var) -> tuple[jt.Var, jt.Var, jt.Var, jt.Var]:
    """(..., 4) -> centre x, centre y, width, height, each (...)."""
    x1, y1, x2, y2 = split(boxes)
    return (x1 + x2) * 0.5, (y1 + y2) * 0.5, x2 - x1, y2 - y1


@register
class DeltaXYWHBBoxCoder:
    """mmdet's DeltaXYWHBBoxCoder with means 0."""

    def __init__(
        self,
        target_means: list[float] = (0.0, 0.0, 0.0, 0.0),
        target_stds: list[float] = (1.0, 1.0, 1.0, 1.0),
        clip_border: bool = True,
        where: str = "DeltaXYWHBBoxCoder",
    ) -> None:
        require(list(target_means), [0.0] * 4, f"{where}.target_means")
        require(clip_border, True, f"{where}.clip_border")
        self.stds = [float(std) for std in target_stds]

    def encode(self, boxes: jt.Var, targets: jt.Var) -> jt.Var:
        """Deltas f32 (..., 4) that turn `boxes` into `targets`, both (..., 4) with positive sides."""
        px, py, pw, ph = centres_and_sizes(boxes)
        gx, gy, gw, gh = centres_and_sizes(targets)
        deltas = ((gx - px) / pw, (gy - py) / ph, jt.log(gw / pw), jt.log(gh / ph))
        return join(*(delta / std for delta, std in zip(deltas, self.stds, strict=True)))

    def decode(self, boxes: jt.Var, deltas: jt.Var) -> jt.Var:
        """Boxes f32 (..., 4) from `boxes` and `deltas` (..., 4); not clipped."""
        px, py, pw, ph = centres_and_sizes(boxes)
        dx, dy, dw, dh = (delta * std for delta, std in zip(split(deltas), self.stds, strict=True))
        gx, gy = px + pw * dx, py + ph * dy
        half_width = pw * jt.exp(jt.clamp(dw, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)) * 0.5
        half_height = ph * jt.exp(jt.clamp(dh, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)) * 0.5
        return join(gx - half_width, gy - half_height, gx + half_width, gy + half_height)


@register
class TBLRBBoxCoder:
    """mmdet's TBLRBBoxCoder with normalize_by_wh: nothing keeps a decoded side positive."""

    def __init__(self, normalizer: float = 1.0, clip_border: bool = True, where: str = "TBLRBBoxCoder") -> None:
        require(clip_border, True, f"{where}.clip_border")
        self.normalizer = float(normalizer)

    def encode(self, boxes: jt.Var, targets: jt.Var) -> jt.Var:
        """Distances (t, b, l, r) f32 (..., 4) from the centres of `boxes` to the edges of `targets`, both (..., 4)."""
        cx, cy, width, height = centres_and_sizes(boxes)
        x1, y1, x2, y2 = split(targets)
        width, height = width * self.normalizer, height * self.normalizer
        return join((cy - y1) / height, (y2 - cy) / height, (cx - x1) / width, (x2 - cx) / width)

    def decode(self, boxes: jt.Var, codes: jt.Var) -> jt.Var:
        """Boxes f32 (..., 4) from anchors `boxes` and distances `codes` (..., 4); not clipped."""
        cx, cy, width, height = centres_and_sizes(boxes)
        top, bottom, left, right = split(codes)
        width, height = width * self.normalizer, height * self.normalizer
        return join(cx - left * width, cy - top * height, cx + right * width, cy + bottom * height)


def centerness(codes: jt.Var) -> jt.Var:
    """How central an anchor's centre is in its box: sqrt(min(t,b)/max(t,b) · min(l,r)/max(l,r)), 0 if the centre is outside.

    Args:
        codes: f32 (..., 4) distances (t, b, l, r).

    Returns:
        f32 (...), in [0, 1].
    """
    top, bottom, left, right = split(codes)
    low = jt.minimum(top, bottom), jt.minimum(left, right)
    high = jt.maximum(top, bottom), jt.maximum(left, right)
    inside = (jt.minimum(*low) > 0).float32()
    return jt.sqrt(jt.maximum(low[0] / (high[0] + 1e-12) * (low[1] / (high[1] + 1e-12)) * inside, 0.0))
