"""Detections on the device, read in one copy and array by array."""

import numpy as np
import pytest

from trainer.device import var
from trainer.models.detections import Found, read

BOXES, ROWS, USED = 6, 4, 3


@pytest.mark.parametrize("classes", [True, False])
def test_one_copy_for_all_images_gives_what_the_arrays_have(classes: bool) -> None:
    random = np.random.default_rng(0)
    boxes = [random.uniform(0, 90, (BOXES, 4)).astype(np.float32) for _ in range(2)]
    scores = [random.uniform(0, 1, ROWS if classes else BOXES).astype(np.float32) for _ in range(2)]
    rows, labels = np.array([5, 0, 2, -1], np.int32), np.array([7, 1, 0, -1], np.int32)
    found = [
        Found(
            var(boxes[image], "float32"),
            var(rows, "int32"),
            var(labels, "int32") if classes else None,
            var(scores[image], "float32"),
            var([USED - image], "int32"),
        )
        for image in range(2)
    ]
    for way in (read(found), read(found, [one.packed() for one in found])):
        for image, one in enumerate(way):
            used = rows[: USED - image]
            np.testing.assert_array_equal(one.boxes, boxes[image][used])
            np.testing.assert_array_equal(one.scores, scores[image][: len(used)] if classes else scores[image][used])
            np.testing.assert_array_equal(one.labels, labels[: len(used)] if classes else np.zeros(len(used)))
            assert one.boxes.dtype == one.scores.dtype == np.float32 and one.labels.dtype == np.int32
