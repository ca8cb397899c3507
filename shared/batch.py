"""The arrays of a detection batch, and how large they are.

images u8 (B,H,W,3) BGR, zero outside the content      or f32, by ``feed.image_dtype``; H, W: the largest of the
                                                       batch, a multiple of the size divisor
image_shapes i32 (B,2), original_shapes i32 (B,2)      height, width in pixels: content in `images`; file on disk
scale_factors f32 (B,4)                                w, h, w, h: resized / original
flipped u8 (B,)                                        0 no, 1 horizontally, 2 vertically, 3 both
image_ids i64 (B,), dataset_ids i32 (B,)
boxes f32 (B,G,4), labels i32 (B,G), ignored u8 (B,G)  x1,y1,x2,y2 in pixels of `images`; G a multiple of 8
box_counts i32 (B,)                                    boxes to train on; crowds (`ignored` 1) follow, then zeros
proposals f32 (B,P,5), proposal_counts i32 (B,)        only with LoadProposals: x1,y1,x2,y2,score in pixels of `images`,
                                                       then zeros; P the same in all batches, a multiple of 8
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.layout import DTYPES, Layout

BOX_MULTIPLE = 8  # of boxes, and of proposals


@lru_cache(256)
def layout_of(
    batch: int, height: int, width: int, boxes: int, proposals: int = 0, image_dtype: str = "uint8"
) -> Layout:
    """The layout of a detection batch of `batch` images of `height` x `width` pixels with room for `boxes` boxes and
    `proposals` proposals each; 0: it carries no proposals."""
    of_proposals = [
        ("proposals", "float32", (batch, padded(proposals, BOX_MULTIPLE), 5)),
        ("proposal_counts", "int32", (batch,)),
    ]
    return Layout.pack(
        [
            ("images", image_dtype, (batch, height, width, 3)),
            ("image_shapes", "int32", (batch, 2)),
            ("original_shapes", "int32", (batch, 2)),
            ("scale_factors", "float32", (batch, 4)),
            ("flipped", "uint8", (batch,)),
            ("image_ids", "int64", (batch,)),
            ("dataset_ids", "int32", (batch,)),
            ("boxes", "float32", (batch, boxes, 4)),
            ("box_counts", "int32", (batch,)),
            ("labels", "int32", (batch, boxes)),
            ("ignored", "uint8", (batch, boxes)),
            *(of_proposals if proposals else ()),
        ]
    )


def blank_arrays(
    batch: int,
    height: int,
    width: int,
    boxes: int = BOX_MULTIPLE,
    proposals: int = 0,
    image_dtype: str = "uint8",
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a batch of black images without any boxes, not resized and without padding, to be filled.

    Args:
        batch, height, width, boxes, proposals, image_dtype: as for `layout_of`.
    """
    fields = layout_of(batch, height, width, boxes, proposals, image_dtype).fields
    arrays: dict[str, npt.NDArray[Any]] = {field.name: np.zeros(field.shape, DTYPES[field.dtype]) for field in fields}
    arrays["image_shapes"][:] = arrays["original_shapes"][:] = height, width
    arrays["scale_factors"][:] = 1
    return arrays


def padded(size: int, multiple: int) -> int:
    """`size` rounded up to a multiple of `multiple`."""
    return -(-size // multiple) * multiple
