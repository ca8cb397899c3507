"""Kinds of mistakes and what they cost: against hand-made cases, plain loops and COCO's average precision."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.trainer.reporting import scenes
from trainer.reporting.matches import Result
from trainer.reporting.mistakes import RIGHT, SIZES, Kind, Mistakes, find

SEEDS = range(60)
THERE = [0, 0, 10, 10]


def one(boxes: list, labels: list[int], scores: list[float] | None = None, truths: list | None = None) -> Mistakes:
    """The mistakes in one image in which there is an object of class 0, or several at `truths`."""
    truths = [THERE] if truths is None else truths
    scores = scores or [0.9 - 0.1 * rank for rank in range(len(boxes))]
    table = np.array(truths, float).reshape(-1, 4)
    detected = np.array(boxes, float).reshape(-1, 4), np.array(scores), np.array(labels, int)
    return find([Result("image", *detected, table, np.zeros(len(table), int))])


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (THERE, 0, RIGHT),
        ([0, 0, 10, 5], 0, RIGHT),
        ([0, 0, 10, 4.9], 0, Kind.LOCALISATION),
        ([0, 0, 10, 1], 0, Kind.LOCALISATION),
        ([0, 0, 10, 0.9], 0, Kind.BACKGROUND),
        ([0, 0, 10, 5], 1, Kind.CLASSIFICATION),
        ([0, 0, 10, 4.9], 1, Kind.BOTH),
        ([0, 0, 10, 0.9], 1, Kind.BACKGROUND),
    ],
)
def test_a_detection_is_of_the_kind_that_its_class_and_its_overlap_say(box: list, label: int, kind: Kind) -> None:
    found = one([box], [label])
    assert found.kind.tolist() == [kind]
    assert found.count(Kind.MISSED) == (kind in (Kind.BOTH, Kind.BACKGROUND))


def test_what_is_found_again_is_a_duplicate_and_an_image_without_objects_is_background() -> None:
    assert one([THERE, THERE], [0, 0]).kind.tolist() == [RIGHT, Kind.DUPLICATE]
    assert one([THERE], [0], truths=[]).kind.tolist() == [Kind.BACKGROUND]


def test_of_two_that_would_take_an_object_the_one_with_the_higher_score_does() -> None:
    found = one([[0, 0, 10, 4], THERE, THERE], [0, 1, 1], [0.3, 0.8, 0.5])
    assert found.score.tolist() == [0.8, 0.5, 0.3] and found.takes.tolist() == [True, False, False]
    assert found.cost(Kind.CLASSIFICATION) == 1.0 and found.cost(Kind.LOCALISATION) == 0.0


def test_nothing_at_all_is_no_mistake() -> None:
    for found in (find([]), one([], [], truths=[])):
        assert np.isnan(found.precision) and [found.count(kind) for kind in Kind] == [0] * 6
        assert found.confusions() == []


def kind_of(result: Result, row: int, taken: dict[int, int]) -> int:
    """The kind of a detection, its row in `result`, in plain words of the paper; `taken`: ground truth -> detection."""
    if row in taken.values():
        return RIGHT
    best: dict[str, float] = {"own": 0, "other": 0, "taken": 0}
    for number, (truth, label) in enumerate(zip(result.truths, result.truth_labels, strict=True)):
        overlap = iou(result.boxes[row], truth)
        key = "own" if label == result.labels[row] else "other"
        best[key] = max(best[key], overlap)
        if key == "own" and number in taken:
            best["taken"] = max(best["taken"], overlap)
    if 0.1 <= best["own"] <= 0.5:
        return Kind.LOCALISATION
    if best["other"] >= 0.5:
        return Kind.CLASSIFICATION
    if best["taken"] >= 0.5:
        return Kind.DUPLICATE
    return Kind.BACKGROUND if max(best["own"], best["other"]) <= 0.1 else Kind.BOTH


def taken_in(result: Result) -> dict[int, int]:
    taken: dict[int, int] = {}
    for row in sorted(range(len(result.scores)), key=lambda row: -result.scores[row]):
        free = [
            (iou(result.boxes[row], truth), number)
            for number, truth in enumerate(result.truths)
            if number not in taken and result.truth_labels[number] == result.labels[row]
        ]
        if free and max(free)[0] >= 0.5:
            taken[max(free)[1]] = row
    return taken


def iou(one: np.ndarray, other: np.ndarray) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(common / (sum(areas) - common))


def test_kinds_are_those_that_plain_loops_find() -> None:
    seen = set()
    for seed in SEEDS:
        results = scenes.draw(seed)
        found = find(results)
        for image, row, kind in zip(found.image, found.row, found.kind, strict=True):
            assert kind == kind_of(results[image], row, taken_in(results[image])), (seed, image, row)
        seen |= set(found.kind.tolist())
    assert seen == set(range(6))


@pytest.mark.parametrize("crowds", [False, True])
def test_the_precision_is_cocos(crowds: bool) -> None:
    for seed in SEEDS:
        results = scenes.draw(seed, crowds)
        if any(len(result.truths) for result in results) and any(len(result.scores) for result in results):
            assert find(results).precision == pytest.approx(cocos(results), abs=1e-9), seed


def cocos(results: list[Result]) -> float:
    """AP50 of the classes that have ground truth."""
    precisions = precisions_of(results)[:, :, 0]
    return float(precisions[:, (precisions > -1).all(0)].mean())


def precisions_of(results: list[Result], label_count: int = 8) -> np.ndarray:
    """pycocotools' precisions at IoU 0.5 (101, labels, 4): of all sizes, and of small, medium and large boxes; -1 where
    there is no ground truth."""

    def entries(boxes: np.ndarray, labels: np.ndarray, image: int, **more: object) -> list[dict]:
        sides = [[x, y, right - x, bottom - y] for x, y, right, bottom in boxes.tolist()]
        return [
            {"bbox": box, "area": box[2] * box[3], "category_id": int(label) + 1, "image_id": image, **more}
            for box, label in zip(sides, labels, strict=True)
        ]

    truths = [one for k, result in enumerate(results) for one in entries(result.truths, result.truth_labels, k)]
    crowds = [
        one for k, result in enumerate(results) for one in entries(result.crowds, result.crowd_labels, k, iscrowd=1)
    ]
    found = [
        entry | {"score": score}
        for k, result in enumerate(results)
        for entry, score in zip(entries(result.boxes, result.labels, k), result.scores.tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(None):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number} for number in range(len(results))],
            "categories": [{"id": number} for number in range(1, label_count + 1)],
            "annotations": [{"iscrowd": 0, **one, "id": k + 1} for k, one in enumerate([*truths, *crowds])],
        }
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(found) if found else COCO(), "bbox")
        judged.evaluate()
        judged.accumulate()
    precisions: np.ndarray = judged.eval["precision"][0, :, :, :, 2]
    return precisions


@pytest.mark.parametrize("kind", list(Kind)[:-1])
def test_a_kind_costs_what_is_gained_when_its_detections_are_set_right(kind: Kind) -> None:
    gained = []
    for seed in SEEDS:
        results = scenes.draw(seed)
        found = find(results)
        corrected = find([without(found, kind, image, result) for image, result in enumerate(results)])
        if not np.isnan(found.precision):
            gained.append(found.cost(kind))
            assert gained[-1] == pytest.approx(max(corrected.precision - found.precision, 0), abs=1e-9), seed
    assert sum(gain > 0 for gain in gained) > 5


def without(found: Mistakes, kind: Kind, image: int, result: Result) -> Result:
    """The result with what is of a kind moved onto the object that it would take, or taken out."""
    boxes, labels, stays = result.boxes.copy(), result.labels.copy(), np.ones(len(result.scores), bool)
    for place in np.flatnonzero((found.image == image) & (found.kind == kind)):
        row = found.row[place]
        if found.takes[place]:
            truth = found.truth_row[found.truth[place]]
            boxes[row], labels[row] = result.truths[truth], result.truth_labels[truth]
        else:
            stays[row] = False
    return dataclasses.replace(result, boxes=boxes[stays], labels=labels[stays], scores=result.scores[stays])


def test_the_precision_of_a_size_counts_objects_of_that_size_and_what_is_wrong_with_boxes_of_it() -> None:
    small, large = [0, 0, 20, 20], [100, 100, 300, 300]
    again = [100, 100, 300, 290]
    found = one([small, again, large, [40, 40, 45, 45]], [0] * 4, truths=[small, large])
    by_size = {size: found.curve(found.share_of_size(size)).mean() for size in SIZES}
    assert by_size == {"small": 1.0, "medium": pytest.approx(np.nan, nan_ok=True), "large": 1.0}
    worse = one([small, large, [40, 40, 45, 45]], [0] * 3, [0.1, 0.9, 0.5], truths=[small, large])
    assert worse.curve(worse.share_of_size("small")).mean() == 0.5
    assert worse.curve(worse.share_of_size("large")).mean() == 1.0
    assert worse.precision == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_missed_objects_cost_what_is_gained_without_them() -> None:
    gained = []
    for seed in SEEDS:
        results = scenes.draw(seed)
        found = find(results)
        left = [
            dataclasses.replace(result, truths=result.truths[stays], truth_labels=result.truth_labels[stays])
            for image, result in enumerate(results)
            for stays in [~found.missed[found.truth_image == image]]
        ]
        every_class_is_left = set(found.truth_label[~found.missed]) == set(found.truth_label)
        if every_class_is_left and len(found.truth_label):
            gained.append(found.cost(Kind.MISSED))
            assert gained[-1] == pytest.approx(max(find(left).precision - found.precision, 0), abs=1e-9), seed
    assert sum(gain > 0 for gain in gained) > 5


def test_objects_are_taken_for_what_their_best_detection_says() -> None:
    far, other = [50, 50, 60, 60], [20, 0, 30, 10]
    found = one(
        [THERE, THERE, other, far], [2, 0, 2, 1], [0.9, 0.8, 0.7, 0.99], truths=[THERE, other, [80, 80, 90, 90]]
    )
    assert found.taken_for.tolist() == [2, 2, -1] and found.taken_row.tolist() == [0, 2, -1]
    assert found.confusions() == [(0, 2, 2)]
