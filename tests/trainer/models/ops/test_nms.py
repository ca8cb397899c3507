"""NMS against a plain loop."""

import numpy as np
import pytest

from trainer.device import var
from trainer.models.ops.nms import batched_nms, nms


def kept_by_loop(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """The definition: best first, suppress what overlaps a kept box too much."""
    kept: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in np.argsort(-scores, kind="stable"):
        sides = np.minimum(boxes[i, 2:], boxes[kept, 2:]) - np.maximum(boxes[i, :2], boxes[kept, :2])
        common = np.maximum(sides, 0).prod(1)
        if not (common > threshold * (areas[i] + areas[kept] - common)).any():
            kept.append(int(i))
    return kept


def random_boxes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(5, 60, (count, 2))], 1)
    return boxes.astype(np.float32), generator.integers(0, 30, count).astype(np.float32) / 30


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float, least: float, most: int) -> list[int]:
    """What `nms` keeps of one image."""
    kept, count = nms(var(boxes[None]), var(scores[None]), threshold, least, most)
    return kept.numpy()[0, : count.item()].tolist()


@pytest.mark.parametrize("threshold", [0.3, 0.7, 0.9])
def test_the_same_boxes_survive_in_the_same_order(threshold: float) -> None:
    boxes, scores = random_boxes(400)
    assert suppress(boxes, scores, threshold, -1.0, 400) == kept_by_loop(boxes, scores, threshold)


def test_each_image_is_on_its_own_and_unused_rows_are_marked() -> None:
    images = [random_boxes(300, seed) for seed in range(3)]
    boxes, scores = (np.stack(part) for part in zip(*images, strict=True))
    kept, count = nms(var(boxes), var(scores), 0.5, -1.0, 250)
    assert kept.shape == [3, 250]
    for i in range(3):
        expected = kept_by_loop(boxes[i], scores[i], 0.5)
        assert kept.numpy()[i].tolist() == expected + [-1] * (250 - len(expected))
        assert count.numpy()[i] == len(expected)


def test_only_the_best_are_kept() -> None:
    boxes, scores = random_boxes(300)
    assert suppress(boxes, scores, 0.5, -1.0, 20) == kept_by_loop(boxes, scores, 0.5)[:20]


def test_boxes_at_or_below_the_score_threshold_take_no_part() -> None:
    boxes, scores = random_boxes(100)
    part = np.flatnonzero(scores > 0.5)
    expected = part[kept_by_loop(boxes[part], scores[part], 0.5)].tolist()
    assert suppress(boxes, scores, 0.5, 0.5, 100) == expected


def test_an_overlap_of_exactly_the_threshold_does_not_suppress() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    assert suppress(boxes, np.array([0.9, 0.8], np.float32), 0.5, 0.0, 2) == [0, 1]


def test_boxes_without_area_do_not_suppress_each_other() -> None:
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 9, 9]], np.float32)
    assert suppress(boxes, np.array([0.5, 0.6, 0.7], np.float32), 0.5, 0.0, 3) == [2, 1, 0]


def test_classes_do_not_suppress_each_other() -> None:
    # Two images of other sizes: each is moved apart by its own largest coordinate.
    boxes, scores = (np.stack(part) for part in zip(random_boxes(200), random_boxes(200, 5), strict=True))
    boxes[1] *= 10
    labels = np.random.default_rng(1).integers(0, 3, (2, 200)).astype(np.int32)
    kept, counts = batched_nms(var(boxes), var(scores), var(labels), 0.5, -1.0, 200)
    for i in range(2):
        expected = []
        for label in range(3):
            part = np.flatnonzero(labels[i] == label)
            expected += part[kept_by_loop(boxes[i, part], scores[i, part], 0.5)].tolist()
        found = kept.numpy()[i, : counts.numpy()[i]]
        assert sorted(found) == sorted(expected)
        assert (np.diff(scores[i, found]) <= 0).all()


def test_a_box_is_suppressed_by_any_of_those_that_are_kept_however_many_there_are() -> None:
    apart = np.arange(200, dtype=np.float32)[:, None] * 20 + np.array([0, 0, 10, 10], np.float32)
    scores = np.linspace(1, 0.5, 400, dtype=np.float32)
    assert suppress(np.concatenate([apart, apart]), scores, 0.5, 0.0, 400) == list(range(200))
