"""Soft-NMS and hard NMS of many classes against mmcv's algorithm written out in numpy, and golden numbers."""

import numpy as np
import pytest

from trainer.device import var
from trainer.models.ops.soft_nms import Picks, hard_nms_of_classes, soft_nms

# exp and division are vectorised with an error of a few units in the last place.
TOLERANCE = 1e-5


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.maximum(sides, 0).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - common
    return np.where(common > 0, common / np.where(union == 0, 1, union), 0)


def soft_nms_of_one_group(boxes: np.ndarray, scores: np.ndarray, sigma: float, least: float) -> list[tuple]:
    """(index, score) in the order of picking: mmcv's loop, with equal scores by ascending index."""
    left, scores, picks = list(range(len(scores))), scores.copy(), []
    while left:
        best = max(left, key=lambda i: (scores[i], -i))
        left.remove(best)
        picks.append((best, scores[best]))
        scores[left] *= np.exp(-(overlaps(boxes[best], boxes[left]) ** 2) / np.float32(sigma))
        left = [i for i in left if scores[i] >= least]
    return picks


def multiclass_soft_nms(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, most: int, split: int = 10_000, least: float = 1e-3
) -> list[tuple]:
    """(box, class, score) of mmdet's multiclass_nms with mmcv's batched_nms, both of its regimes."""
    rows, labels = np.nonzero(scores > threshold)
    if not len(rows):
        return []
    reach = boxes[rows].max() + np.float32(1)
    shifted = boxes[rows] + (labels.astype(np.float32) * reach)[:, None]
    values = scores[rows, labels]
    picks = []
    for group in [np.arange(len(rows))] if len(rows) < split else [np.flatnonzero(labels == c) for c in set(labels)]:
        picks += [(group[i], score) for i, score in soft_nms_of_one_group(shifted[group], values[group], 0.5, least)]
    picks.sort(key=lambda pick: (-pick[1], pick[0]))
    return [(rows[i], labels[i], score) for i, score in picks[:most]]


def scene(boxes: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Crowded boxes of a 640x480 image and scores of which most are small."""
    generator = np.random.default_rng(seed)
    centre = generator.uniform(50, 400, (max(boxes // 6, 1), 2))[generator.integers(0, max(boxes // 6, 1), boxes)]
    centre = centre + generator.normal(0, 6, (boxes, 2))
    half = generator.uniform(10, 45, (boxes, 2))
    table = np.clip(np.concatenate([centre - half, centre + half], 1), 0, [640, 480, 640, 480]).astype(np.float32)
    return table, (generator.uniform(0, 1, (boxes, classes)) ** 6).astype(np.float32)


def check(picks: Picks, expected: list[tuple]) -> None:
    count = picks.count.item()
    assert count == len(expected)
    found = list(zip(picks.rows.numpy()[:count], picks.labels.numpy()[:count], strict=True))
    assert found == [(row, label) for row, label, _ in expected]
    np.testing.assert_allclose(picks.scores.numpy()[:count], [score for *_, score in expected], rtol=TOLERANCE)
    assert (picks.rows.numpy()[count:] == -1).all()
    assert (picks.labels.numpy()[count:] == -1).all()


@pytest.mark.parametrize("split", [0, 1_000_000], ids=["class by class", "all together"])
@pytest.mark.parametrize(("boxes", "classes"), [(1, 1), (40, 1), (60, 7), (30, 80)])
def test_all_picks_match_the_reference_in_both_regimes(boxes: int, classes: int, split: int) -> None:
    table, scores = scene(boxes, classes)
    picks = soft_nms(var(table), var(scores), 1e-4, boxes * classes, split_threshold=split)
    check(picks, multiclass_soft_nms(table, scores, 1e-4, boxes * classes, split))


@pytest.mark.parametrize("most", [1, 5, 100])
def test_the_first_picks_are_those_of_the_whole_run(most: int) -> None:
    table, scores = scene(80, 20)
    check(soft_nms(var(table), var(scores), 1e-4, most), multiclass_soft_nms(table, scores, 1e-4, most))


@pytest.mark.parametrize(("boxes", "together"), [(100, True), (160, False)])
def test_ten_thousand_candidates_change_the_regime(boxes: int, together: bool) -> None:
    # Only a class of its own lets a score below 1e-3 through.
    table, scores = scene(boxes, 70)
    scores = np.maximum(scores, 2e-4)
    scores[:, 3] = 5e-4
    picks = soft_nms(var(table), var(scores), 1e-4, boxes * 70)
    assert ((picks.labels.numpy() == 3).sum() == 0) == together
    assert (boxes * 70 < 10_000) == together


def test_golden_numbers_of_both_regimes() -> None:
    table = np.array(
        [[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32
    )
    scores = np.zeros((6, 3), np.float32)
    scores[np.arange(6), [0, 0, 0, 1, 2, 1]] = [0.9, 0.8, 0.7, 0.0005, 0.0008, 0.6]
    single = soft_nms(var(table), var(scores), 1e-4, 10)
    assert single.rows.numpy().tolist() == [0, 5, 1, 2, -1, -1, -1, -1, -1, -1]
    np.testing.assert_allclose(single.scores.numpy()[:4], [0.9, 0.6, 0.316709, 0.06579], rtol=1e-5)
    split = soft_nms(var(table), var(scores), 1e-4, 10, split_threshold=1)
    assert split.rows.numpy()[:5].tolist() == [0, 5, 1, 2, 4]
    np.testing.assert_allclose(split.scores.numpy()[:5], [0.9, 0.6, 0.316709, 0.06579, 0.0008], rtol=1e-5)


@pytest.mark.parametrize(("label", "score"), [(0, 0.2467757), (1229, 0.2473681)])
def test_far_classes_lose_digits_to_the_shift_as_in_the_reference(label: int, score: float) -> None:
    table = np.array([[10.03, 20.04, 90.07, 110.02], [14.41, 23.37, 97.13, 118.91], [600, 400, 640, 480]], np.float32)
    scores = np.zeros((3, 1230), np.float32)
    scores[:, label] = [0.9, 0.8, 0.7]
    picks = soft_nms(var(table), var(scores), 1e-4, 3)
    assert picks.rows.numpy().tolist() == [0, 2, 1]
    assert picks.scores.numpy()[2] == pytest.approx(score, rel=1e-6)


def test_equal_scores_are_picked_by_box_and_then_by_class() -> None:
    table = np.array([[0, 0, 9, 9], [20, 20, 29, 29]], np.float32)
    picks = soft_nms(var(table), var(np.full((2, 3), 0.5, np.float32)), 0.1, 6)
    pairs = list(zip(picks.rows.numpy().tolist(), picks.labels.numpy().tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_boxes_without_area_keep_their_score() -> None:
    table = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 9, 9]], np.float32)
    picks = soft_nms(var(table), var([[0.5], [0.25], [0.75]], "float32"), 0.1, 3)
    np.testing.assert_array_equal(picks.scores.numpy(), np.array([0.75, 0.5, 0.25], np.float32))


def test_no_candidate_gives_no_pick() -> None:
    table, scores = scene(10, 4)
    picks = soft_nms(var(table), var(scores), 2.0, 10)
    assert picks.count.item() == 0
    assert (picks.rows.numpy() == -1).all()


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
def test_hard_nms_of_classes_matches_a_loop(threshold: float) -> None:
    table, scores = scene(60, 7)
    expected = []
    for label in range(7):
        kept: list[int] = []
        for i in np.argsort(-scores[:, label], kind="stable"):
            if scores[i, label] > 0.05 and not (overlaps(table[i], table[kept]) > threshold).any():
                kept.append(int(i))
        expected += [(i, label, scores[i, label]) for i in kept]
    expected.sort(key=lambda pick: -pick[2])
    assert len(expected) > 30
    check(hard_nms_of_classes(var(table), var(scores), 0.05, 420, threshold), expected)
    check(hard_nms_of_classes(var(table), var(scores), 0.05, 20, threshold), expected[:20])
