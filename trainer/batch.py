"""A training or evaluation batch on the device: what the feed makes of one slot and every detector consumes.

``B`` images are padded with zeros at the bottom and the right to one common size, a multiple of 32. Each image has
`box_counts` boxes; the rows behind them, up to the common ``G`` (a multiple of 8, at least 8), are zero. Crowd boxes
are not among them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trainer.device import jt


@dataclass
class Batch:
    """The device side of one slot, and the small arrays on the host.

    Attributes:
        images: u8 (B,H,W,3), BGR.
        image_shapes: f32 (B,2), height and width of the content in pixels.
        boxes: f32 (B,G,4), x1,y1,x2,y2 in pixels of the resized image.
        box_counts: i32 (B,).
        labels: i32 (B,G).
        proposals: f32 (B,P,5), x1,y1,x2,y2,score in pixels of the resized image; None where the config asks for none.
        proposal_counts: i32 (B,), how many rows of `proposals` count; None with them.
        host: the small arrays as they came: image_shapes i32 (B,2), original_shapes i32 (B,2), scale_factors f32 (B,4)
            as (w,h,w,h), flipped u8 (B,), image_ids i64 (B,), dataset_ids i32 (B,), box_counts, boxes, labels, ignored
            u8 (B,G), and proposal_counts where there are proposals.
        step: the batch's place in the stream.
        valid: how many of the images count; the rest only fill the last batch of an epoch.
    """

    images: jt.Var
    image_shapes: jt.Var
    boxes: jt.Var
    box_counts: jt.Var
    labels: jt.Var
    proposals: jt.Var | None = None
    proposal_counts: jt.Var | None = None
    host: dict[str, np.ndarray] = field(default_factory=dict)
    step: int = 0
    valid: int = 0
