"""Which of an image's detections are right: COCO's rule at IoU 0.5.

Detections go by falling score. Each takes, of the ground truths of its class that are left, the one that it overlaps
most, if by at least half; it is right then. One that takes none and lies in a crowd of its class is neither right nor
wrong. All others are mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

IOU = 0.5


def _no_boxes() -> np.ndarray:
    return np.zeros((0, 4))


def _no_labels() -> np.ndarray:
    return np.zeros(0, int)


@dataclass(frozen=True)
class Result:
    """One image's detections, and what is there. Boxes are x1,y1,x2,y2 in pixels of the image.

    Attributes:
        title: what the picture is called.
        boxes, scores, labels: (m,4), (m,), integers (m,), in any order.
        truths, truth_labels: (n,4), integers (n,), without crowds.
        crowds, crowd_labels: (k,4), integers (k,).
    """

    title: str
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    truths: np.ndarray
    truth_labels: np.ndarray
    crowds: np.ndarray = field(default_factory=_no_boxes)
    crowd_labels: np.ndarray = field(default_factory=_no_labels)


@dataclass(frozen=True)
class Matches:
    """What becomes of an image's detections, in the order of their scores.

    Attributes:
        order: (m,), the detections by falling score.
        overlaps: (m,n), their IoU with the ground truths.
        truth: (m,), the ground truth that each takes; -1: none.
        ignored: bool (m,), those that are neither right nor wrong.
    """

    order: np.ndarray
    overlaps: np.ndarray
    truth: np.ndarray
    ignored: np.ndarray


def match(result: Result, most: int | None = None) -> Matches:
    """What becomes of the detections, or of the `most` with the highest scores."""
    order = np.argsort(-result.scores, kind="stable")[:most]
    boxes, labels = result.boxes[order], result.labels[order]
    overlaps = _overlaps(boxes, result.truths)
    left = np.where(labels[:, None] == result.truth_labels[None], overlaps, 0.0)
    truth = np.full(len(order), -1)
    for row in np.flatnonzero((left >= IOU).any(1)):
        best = int(left[row].argmax())
        if left[row, best] >= IOU:
            truth[row] = best
            left[:, best] = 0.0
    within = _common(boxes, result.crowds) >= IOU * np.maximum(areas(boxes), 1e-9)[:, None]
    in_crowd = (within & (labels[:, None] == result.crowd_labels[None])).any(1)
    return Matches(order, overlaps, truth, in_crowd & (truth < 0))


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU (m,n)."""
    common = _common(boxes, others)
    return common / np.maximum(areas(boxes)[:, None] + areas(others)[None] - common, 1e-9)


def _common(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas of intersections (m,n)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.maximum(high - low, 0).prod(2)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas (n,) of boxes (n,4)."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)
