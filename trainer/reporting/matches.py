"""Which of an image's detections are right: COCO's rule at IoU 0.5.

Detections go by falling score. Each takes, of the ground truths of its class that are left, the one that it overlaps
most, if by at least half; it is right then. One that takes none and lies in a crowd of its class is neither right nor
wrong. All others are mistakes.

Where only some ground truths count, those of a size, the others are set aside: a detection that takes none that counts
may take one of them, and is neither right nor wrong then.
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
        truth_areas: (n,), what the annotations say, in square pixels; None: the boxes' areas.
    """

    title: str
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    truths: np.ndarray
    truth_labels: np.ndarray
    crowds: np.ndarray = field(default_factory=_no_boxes)
    crowd_labels: np.ndarray = field(default_factory=_no_labels)
    truth_areas: np.ndarray | None = None


@dataclass(frozen=True)
class Overlaps:
    """What an image's detections lie on, in the order of their scores.

    Attributes:
        order: (m,), the detections by falling score.
        all: (m,n), their IoU with the ground truths.
        own: (m,n+k), with those of their own class, then what share of them is in each crowd of it; 0 elsewhere.
    """

    order: np.ndarray
    all: np.ndarray
    own: np.ndarray


@dataclass(frozen=True)
class Matches:
    """What becomes of an image's detections, in the order of their scores.

    Attributes:
        truth: (m,), the ground truth that each takes; -1: none.
        ignored: bool (m,), those that are neither right nor wrong.
    """

    truth: np.ndarray
    ignored: np.ndarray


def overlaps_of(result: Result) -> Overlaps:
    """What the detections lie on."""
    order = np.argsort(-result.scores, kind="stable")
    boxes, labels = result.boxes[order], result.labels[order]
    overlaps = _overlaps(boxes, result.truths)
    in_crowds = _common(boxes, result.crowds) / np.maximum(areas(boxes), 1e-9)[:, None]
    there = np.concatenate([result.truth_labels, result.crowd_labels])
    own = np.where(labels[:, None] == there[None], np.hstack([overlaps, in_crowds]), 0.0)
    return Overlaps(order, overlaps, own)


def match(overlaps: Overlaps, aside: np.ndarray | None = None) -> Matches:
    """What becomes of the detections.

    Args:
        aside: bool (n,), the ground truths that do not count; None: all do.
    """
    count, left = overlaps.all.shape[1], overlaps.own.copy()
    counts = np.zeros(left.shape[1], bool)
    counts[:count] = True if aside is None else ~aside
    truth, ignored = np.full(len(left), -1), np.zeros(len(left), bool)
    for row in np.flatnonzero((left >= IOU).any(1)):
        near = left[row] >= IOU
        if (near & counts).any():
            near &= counts
        if near.any():
            # Of equal ones the last, as pycocotools has it.
            best = len(near) - 1 - int(np.where(near, left[row], 0.0)[::-1].argmax())
            ignored[row] = not counts[best]
            if best < count:
                truth[row] = best
                left[:, best] = 0.0
    return Matches(truth, ignored)


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
