"""What goes wrong in an evaluation, and what each kind of mistake costs: TIDE's six (Bolya et al., ECCV 2020).

    kind            of a detection that is not right, the first that is true          set right by
    LOCALISATION    overlaps a ground truth of its class by 0.1 to 0.5                moving it there
    CLASSIFICATION  overlaps one of another class by 0.5                              giving it that class
    DUPLICATE       overlaps one of its class by 0.5, which another has taken         dropping it
    BACKGROUND      overlaps none by more than 0.1                                    dropping it
    BOTH            the rest: a wrong place of a wrong class                          dropping it
    MISSED          a ground truth that is not taken, and which no detection of       taking it out
                    the first two kinds would take

Of several detections that would take one ground truth, the one with the highest score does, and the others are
dropped. What a kind costs is how much the average precision at IoU 0.5 would gain if all of it were set right; the
gains of several kinds do not add up. Detections in crowds are left out, as COCO does.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.reporting.matches import IOU, Result, areas, match

BACKGROUND_IOU = 0.1
MOST_DETECTIONS = 100  # of an image, as in COCO's average precision
RECALLS = np.linspace(0, 1, 101)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # COCO's


class Kind(enum.IntEnum):
    """A kind of mistake; the value of a detection that is right is `RIGHT`."""

    CLASSIFICATION = 1
    LOCALISATION = 2
    BOTH = 3
    DUPLICATE = 4
    BACKGROUND = 5
    MISSED = 6


RIGHT = 0
_MOVED = (Kind.CLASSIFICATION, Kind.LOCALISATION)


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The detections (P,) of all images, those in crowds left out, and the ground truths (T,).

    Attributes:
        image, row: (P,), whose detection it is: its image, and its row among that image's.
        label, score, area: (P,), the area in square pixels.
        kind: (P,), a `Kind` or `RIGHT`.
        truth: (P,), the ground truth (of T) that it takes or comes close to; -1: none.
        takes: bool (P,), whether it would take that ground truth if it were set right.
        truth_image, truth_row, truth_label, truth_area: (T,), as of the detections.
        missed: bool (T,).
        taken_for: (T,), the label of the detection with the highest score that overlaps it by half; -1: there is none.
    """

    image: np.ndarray
    row: np.ndarray
    label: np.ndarray
    score: np.ndarray
    area: np.ndarray
    kind: np.ndarray
    truth: np.ndarray
    takes: np.ndarray
    truth_image: np.ndarray
    truth_row: np.ndarray
    truth_label: np.ndarray
    truth_area: np.ndarray
    missed: np.ndarray
    taken_for: np.ndarray

    def count(self, kind: Kind) -> int:
        """How many mistakes of a kind there are."""
        return int(self.missed.sum() if kind == Kind.MISSED else (self.kind == kind).sum())

    @property
    def precision(self) -> float:
        """Average precision at IoU 0.5: COCO's, the mean over the classes that have ground truth."""
        return float(self.curve().mean())

    def cost(self, kind: Kind) -> float:
        """How much the average precision would gain if there were none of a kind."""
        right, label, left = self.kind == RIGHT, self.label, self.truth_label
        if kind == Kind.MISSED:
            left = left[~self.missed]
        stays = self.kind != kind
        if kind in _MOVED:
            moved = ~stays & self.takes
            stays, right = stays | moved, right | moved
            label = np.where(moved, self.truth_label[self.truth], label) if moved.any() else label
        gained = _curve(label[stays], self.score[stays], right[stays], left, self.truth_label)
        return max(float(gained.mean()) - self.precision, 0.0)

    def curve(self, detections: np.ndarray | None = None, truths: np.ndarray | None = None) -> np.ndarray:
        """Precision at COCO's 101 recalls from 0 to 1 (101,), the mean over classes; NaN without ground truth.

        Args:
            detections, truths: bool (P,), (T,), those that count; None: all.
        """
        counts = slice(None) if detections is None else detections
        left = self.truth_label if truths is None else self.truth_label[truths]
        return _curve(self.label[counts], self.score[counts], self.kind[counts] == RIGHT, left, left)

    def of_size(self, least: float, most: float) -> tuple[np.ndarray, np.ndarray]:
        """Which detections (P,) and ground truths (T,) count for a range of areas: a detection that is right counts as
        its ground truth does, another by its own area."""
        truths = (least <= self.truth_area) & (self.truth_area < most)
        detections = (least <= self.area) & (self.area < most)
        right = self.kind == RIGHT
        detections[right] = truths[self.truth[right]]
        return detections, truths

    def confusions(self) -> list[tuple[int, int, int]]:
        """Ground truths whose best detection has another label: label, taken for, how often; the most frequent first.

        The best detection is the one with the highest score that overlaps it by half, of whatever class.
        """
        wrong = (self.taken_for >= 0) & (self.taken_for != self.truth_label)
        pairs = np.stack([self.truth_label[wrong], self.taken_for[wrong]], 1)
        found, counts = np.unique(pairs, axis=0, return_counts=True)
        rows = [(int(label), int(other), int(count)) for (label, other), count in zip(found, counts, strict=True)]
        return sorted(rows, key=lambda row: -row[2])


def find(results: Sequence[Result]) -> Mistakes:
    """The mistakes in the results of all images."""
    parts = [_of_image(number, result) for number, result in enumerate(results)]
    firsts = np.cumsum([0, *(len(result.truths) for result in results)])
    for part, first in zip(parts, firsts, strict=False):
        part["truth"][part["truth"] >= 0] += first
    names = _of_image(0, _NOTHING).keys()
    return Mistakes(**{name: _joined([part[name] for part in parts], name) for name in names})


def _of_image(image: int, result: Result) -> dict[str, np.ndarray]:
    """The fields of `Mistakes`; truths are numbered within the image."""
    matches = match(result, MOST_DETECTIONS)
    own = result.labels[matches.order][:, None] == result.truth_labels[None]
    taken = np.zeros(len(result.truths), bool)
    taken[matches.truth[matches.truth >= 0]] = True
    near, at = _closest(np.where(own, matches.overlaps, 0))
    other, other_at = _closest(np.where(own, 0, matches.overlaps))
    again, again_at = _closest(np.where(own & taken, matches.overlaps, 0))
    anything, _ = _closest(matches.overlaps)
    right = matches.truth >= 0
    tests = (
        (right, RIGHT, matches.truth),
        ((near >= BACKGROUND_IOU) & (near <= IOU), Kind.LOCALISATION, at),
        (other >= IOU, Kind.CLASSIFICATION, other_at),
        (again >= IOU, Kind.DUPLICATE, again_at),
        (anything <= BACKGROUND_IOU, Kind.BACKGROUND, -1),
    )
    truths = [np.broadcast_to(truth, right.shape) for _, _, truth in tests]
    kind = np.select([test for test, _, _ in tests], [int(one) for _, one, _ in tests], int(Kind.BOTH))
    truth = np.select([test for test, _, _ in tests], truths, -1)
    comes_close = np.isin(kind, _MOVED) & ~matches.ignored & (truth >= 0)
    comes_close[comes_close] = ~taken[truth[comes_close]]
    rows = np.flatnonzero(comes_close)
    wanted, first = np.unique(truth[rows], return_index=True)  # the first is the one with the highest score
    takes = np.zeros(len(kind), bool)
    takes[rows[first]] = True
    missed = ~taken
    missed[wanted] = False
    over = (matches.overlaps >= IOU) & ~matches.ignored[:, None]
    best = result.labels[matches.order][over.argmax(0)] if len(over) else np.full(len(taken), -1)
    counted = ~matches.ignored
    return {
        "image": np.full(counted.sum(), image),
        "row": matches.order[counted],
        "label": result.labels[matches.order][counted],
        "score": result.scores[matches.order][counted],
        "area": areas(result.boxes[matches.order][counted]),
        "kind": kind[counted],
        "truth": truth[counted].copy(),
        "takes": takes[counted],
        "truth_image": np.full(len(taken), image),
        "truth_row": np.arange(len(taken)),
        "truth_label": result.truth_labels,
        "truth_area": areas(result.truths),
        "missed": missed,
        "taken_for": np.where(over.any(0), best, -1),
    }


_NOTHING = Result("", np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0, int))


def _closest(overlaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest overlap (m,) of each of (m,n), 0 where n is 0, and whose it is (m,)."""
    if not overlaps.shape[1]:
        return np.zeros(len(overlaps)), np.full(len(overlaps), -1)
    return overlaps.max(1), overlaps.argmax(1)


def _joined(arrays: Iterable[np.ndarray], name: str) -> np.ndarray:
    return np.concatenate([_of_image(0, _NOTHING)[name], *arrays])


def _curve(
    labels: np.ndarray, scores: np.ndarray, right: np.ndarray, truth_labels: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Precision at each recall (101,): the mean over `classes`, which may be listed several times, of those that have
    detections or ground truths; NaN where there is none."""
    order = np.lexsort((-scores, labels))
    labels, right = labels[order], right[order]
    curves = []
    for label in np.unique(classes):
        first, last = np.searchsorted(labels, label), np.searchsorted(labels, label, "right")
        truths = int((truth_labels == label).sum())
        if truths or last > first:
            curves.append(_precisions(right[first:last], truths))
    return np.mean(curves, 0) if curves else np.full(len(RECALLS), np.nan)


def _precisions(right: np.ndarray, truths: int) -> np.ndarray:
    """COCO's precisions (101,) of detections in the order of their scores: at each recall or a larger one, the best."""
    if not truths or not len(right):
        return np.zeros(len(RECALLS))
    found = np.cumsum(right)
    precisions = np.maximum.accumulate((found / np.arange(1, len(right) + 1))[::-1])[::-1]
    at = np.searchsorted(found / truths, RECALLS)
    return np.where(at < len(right), precisions[np.minimum(at, len(right) - 1)], 0.0)
