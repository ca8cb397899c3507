"""Detections as the arrays of a message."""

import numpy as np

from shared.predictions import arrays_of


def test_detections_lie_end_to_end_in_the_types_of_the_message():
    found = [(np.full((count, 4), count), np.full(count, 0.5), np.full(count, 7)) for count in (2, 0, 1)]
    arrays = arrays_of([5, 6, 7], [(4, 3)] * 3, found)
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "image_ids": ("int64", (3,)),
        "counts": ("int32", (3,)),
        "original_shapes": ("int32", (3, 2)),
        "boxes": ("float32", (3, 4)),
        "scores": ("float32", (3,)),
        "labels": ("int32", (3,)),
    }
    assert arrays["counts"].tolist() == [2, 0, 1] and arrays["boxes"][:, 0].tolist() == [2, 2, 1]


def test_no_image_is_a_message_too():
    assert [len(array) for array in arrays_of([], [], []).values()] == [0] * 6
