"""Best and worst images: what makes an image good, and which are chosen."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.reporting.highlights import Verdict, best_and_worst, galleries, judge
from trainer.reporting.matches import Result

TRUTHS = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], float)
FAR = [70, 70, 80, 80]


def result(boxes: list, scores: list[float], labels: list[int] | None = None, truths: np.ndarray = TRUTHS) -> Result:
    labels = [0] * len(boxes) if labels is None else labels
    return Result(
        "image",
        np.array(boxes, float).reshape(-1, 4),
        np.array(scores),
        np.array(labels, int),
        truths,
        np.zeros(len(truths), int),
    )


def test_all_objects_found_first_are_perfect() -> None:
    verdict = judge(result([*TRUTHS[::-1], FAR], [0.7, 0.9, 0.8, 0.1]))
    assert verdict == Verdict(1.0, 3, 3)
    assert str(verdict) == "AP50 1.00; 3 of 3 objects among its first 3 detections"


def test_what_is_found_behind_wrong_detections_counts_less() -> None:
    # right, wrong, right, wrong, right: precisions 1, 2/3, 3/5
    boxes = [TRUTHS[0], FAR, TRUTHS[1], FAR, TRUTHS[2]]
    verdict = judge(result(boxes, [0.9, 0.8, 0.7, 0.6, 0.5]))
    assert verdict.precision == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert verdict.found == 2


def test_an_object_is_found_once_and_by_its_own_class() -> None:
    assert judge(result([TRUTHS[0]] * 3, [0.9, 0.8, 0.7])).precision == pytest.approx(1 / 3)
    assert judge(result([*TRUTHS], [0.9, 0.8, 0.7], [0, 1, 0])).precision == pytest.approx((1 + 2 / 3) / 3)


def test_half_an_overlap_is_enough_and_less_is_not() -> None:
    assert judge(result([[0, 0, 10, 5]], [0.9])).precision == pytest.approx(1 / 3)
    assert judge(result([[0, 0, 10, 4.9]], [0.9])).precision == 0


def test_images_without_detections_or_objects_can_be_judged() -> None:
    assert judge(result([], [])) == Verdict(0.0, 3, 0)
    nothing = judge(result([FAR], [0.9], truths=np.zeros((0, 4))))
    assert nothing.truths == 0 and np.isnan(nothing.precision)


def test_the_best_and_the_worst_are_chosen_with_more_objects_first_and_none_twice() -> None:
    numbers = [(0.5, 2), (1.0, 1), (0.0, 1), (float("nan"), 0), (1.0, 4), (0.0, 7), (0.3, 1)]
    verdicts = [Verdict(precision, truths, 0) for precision, truths in numbers]
    assert best_and_worst(verdicts, 2) == ([4, 1], [5, 2])
    best, worst = best_and_worst(verdicts, 100)
    assert len(best) == 3 and len(worst) == 3 and not set(best) & set(worst) and 3 not in best + worst
    assert best_and_worst([Verdict(0.5, 1, 0)] * 3, 2) == ([0, 1], [2])
    assert best_and_worst([], 3) == ([], [])


def test_only_the_chosen_images_are_loaded_and_drawn_with_their_names() -> None:
    results = [result([*TRUTHS[:count]], [0.9, 0.8, 0.7][:count]) for count in range(4)]
    asked = []

    def load(index: int) -> np.ndarray:
        asked.append(index)
        return np.full((90, 120, 3), 90, np.uint8)

    best, worst = galleries(results, ["cat"], load, count=1)
    assert asked == [3, 0]
    assert best.pictures[0].note.startswith("AP50 1.00") and worst.pictures[0].note.startswith("AP50 0.00")
    assert best.pictures[0].image.shape[1] >= 480 and (best.pictures[0].image != 90).any()
