"""What a PREDICTIONS message carries: the detections of some images as arrays, whose layout `shared.messages` has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def arrays_of(
    image_ids: npt.ArrayLike, original_shapes: npt.ArrayLike, found: Iterable[tuple[Array, Array, Array]]
) -> dict[str, Array]:
    """The arrays of a message.

    Args:
        image_ids: (N,), as the batches have them.
        original_shapes: (N, 2), height and width.
        found: of each image boxes (m, 4) x1, y1, x2, y2 in original pixels, scores (m,) and labels (m,).
    """
    nothing = np.zeros((0, 4)), np.zeros(0), np.zeros(0)
    each = [*found]
    boxes, scores, labels = (np.concatenate(arrays) for arrays in zip(nothing, *each, strict=True))
    return {
        "image_ids": np.asarray(image_ids, np.int64),
        "counts": np.array([len(one[1]) for one in each], np.int32),
        "original_shapes": np.asarray(original_shapes, np.int32).reshape(-1, 2),
        "boxes": boxes.astype(np.float32),
        "scores": scores.astype(np.float32),
        "labels": labels.astype(np.int32),
    }
