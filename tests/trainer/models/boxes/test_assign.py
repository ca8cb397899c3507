"""Max-IoU assignment against the rules written out in numpy."""

import numpy as np
import pytest

from trainer.device import var
from trainer.models.boxes.assign import MaxIoUAssigner


def overlaps(boxes: np.ndarray, truths: np.ndarray) -> np.ndarray:
    low = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    common = np.maximum(high - low, 0).prod(-1)
    areas, truth_areas = ((b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes, truths))
    return common / np.maximum(areas[:, None] + truth_areas[None] - common, 1e-6)


def assign_by_rules(
    boxes: np.ndarray, valid: np.ndarray, truths: np.ndarray, positive: float, negative: float, least: float, low: bool
) -> np.ndarray:
    iou = overlaps(boxes, truths)
    iou[~valid] = -1
    best = iou.max(1, initial=0)
    assigned = np.full(len(boxes), -1)
    assigned[best < negative] = 0
    if len(truths):
        assigned[best >= positive] = iou.argmax(1)[best >= positive] + 1
    for g in range(len(truths) if low else 0):
        if iou[:, g].max() >= least:
            assigned[iou[:, g] == iou[:, g].max()] = g + 1
    assigned[~valid] = -1
    return assigned


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (3,200,4), valid flags, ground truths (3,8,4) near some boxes, counts with an empty image."""
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 100, (3, 200, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(4, 60, (3, 200, 2))], -1).astype(np.float32)
    truths = np.stack([b[generator.choice(200, 8)] + generator.normal(0, 3, (8, 4)) for b in boxes]).astype(np.float32)
    return boxes, generator.random((3, 200)) > 0.2, truths, np.array([5, 0, 8], np.int32)


@pytest.mark.parametrize(
    "rules", [(0.7, 0.3, 0.3, True), (0.3, 0.1, 0.3, True), (0.7, 0.3, 0.3, False), (0.5, 0.5, 0.5, False)]
)
def test_every_box_gets_what_the_rules_say(rules: tuple, scene: tuple) -> None:
    boxes, valid, truths, counts = scene
    positive, negative, least, low = rules
    assigner = MaxIoUAssigner(positive, negative, least, match_low_quality=low)
    assigned = assigner(var(boxes), var(valid), var(truths), var(counts)).numpy()
    for i in range(3):
        expected = assign_by_rules(boxes[i], valid[i], truths[i, : counts[i]], *rules)
        np.testing.assert_array_equal(assigned[i], expected)
    assert (assigned[1][valid[1]] == 0).all()
    assert (assigned > 0).any()


def test_boxes_may_be_shared_by_all_images(scene: tuple) -> None:
    boxes, valid, truths, counts = scene
    assigner = MaxIoUAssigner(0.5, 0.3, 0.3)
    shared = assigner(var(boxes[:1]), var(valid), var(truths), var(counts)).numpy()
    repeated = assigner(var(np.repeat(boxes[:1], 3, 0)), var(valid), var(truths), var(counts)).numpy()
    np.testing.assert_array_equal(shared, repeated)


def test_all_boxes_that_tie_for_a_truth_get_it_and_later_truths_win() -> None:
    boxes = np.array([[[0, 0, 10, 10], [10, 0, 20, 10], [40, 40, 50, 50]]], np.float32)
    truths = np.zeros((1, 8, 4), np.float32)
    truths[0, :2] = [[5, 0, 15, 10], [5, 0, 15, 10]]
    assigned = MaxIoUAssigner(0.9, 0.1, 0.3)(
        var(boxes), var(np.ones((1, 3), bool)), var(truths), var([2], "int32")
    ).numpy()
    np.testing.assert_array_equal(assigned, [[2, 2, 0]])


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((0.5, 0.1, 0.5, False), [1, 1, 0]),  # a positive has at least the threshold
        ((0.9, 0.5, 0.5, False), [1, -1, 0]),  # a negative has less than it
        ((2.0, 0.5, 1.0, True), [1, -1, 0]),  # rule 4 asks for at least the least
    ],
    ids=["positive", "negative", "least"],
)
def test_an_overlap_of_exactly_a_threshold_reaches_it(rules: tuple, expected: list[int]) -> None:
    boxes = np.array([[[0, 0, 8, 8], [0, 0, 8, 4], [40, 40, 48, 48]]], np.float32)
    truths = np.zeros((1, 8, 4), np.float32)
    truths[0, 0] = [0, 0, 8, 8]
    positive, negative, least, low = rules
    assigner = MaxIoUAssigner(positive, negative, least, match_low_quality=low)
    assigned = assigner(var(boxes), var(np.ones((1, 3), bool)), var(truths), var([1], "int32")).numpy()
    np.testing.assert_array_equal(assigned, [expected])


def test_padded_truths_are_nobodys() -> None:
    boxes = np.array([[[0, 0, 1, 1], [5, 5, 9, 9]]], np.float32)
    truths = np.tile(np.array([5, 5, 9, 9], np.float32), (1, 8, 1))
    assigned = MaxIoUAssigner(0.5, 0.5, 0.5)(
        var(boxes), var(np.ones((1, 2), bool)), var(truths), var([0], "int32")
    ).numpy()
    np.testing.assert_array_equal(assigned, [[0, 0]])
