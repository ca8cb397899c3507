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

from trainer.reporting.matches import IOU, Overlaps, Result, areas, match, overlaps_of

BACKGROUND_IOU = 0.1
RECALLS = np.linspace(0, 1, 101)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # COCO's, edges included


class Kind(enum.IntEnum):
    """A kind of mistake; the value of a detection that is right is `RIGHT`."""

    CLASSIFICATION = 1
    LOCALISATION = 2
    BOTH = 3
    DUPLICATE = 4
    BACKGROUND = 5
    MISSED = 6


RIGHT = 0
WRONG, ASIDE = -1, -2
_MOVED = (Kind.CLASSIFICATION, Kind.LOCALISATION)


@dataclass(frozen=True, eq=False)
class Share:
    """What of an evaluation counts for a curve: a class, a size or a data set.

    Attributes:
        detections: (p,), which of its P.
        takes: (p,), the ground truth (of T) that each takes, or `WRONG`.
        truths: (t,), which of its T.
    """

    detections: np.ndarray
    takes: np.ndarray
    truths: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Its detections (of P) that take nothing."""
        return self.detections[self.takes < 0]

    @property
    def lost(self) -> np.ndarray:
        """Its ground truths (of T) that no detection takes."""
        return np.setdiff1d(self.truths, self.takes)


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The detections (P,) of all images, those in crowds left out, and the ground truths (T,).

    Attributes:
        image, row: (P,), whose detection it is: its image, and its row among that image's.
        label, score: (P,).
        kind: (P,), a `Kind` or `RIGHT`.
        truth: (P,), the ground truth (of T) that it takes or comes close to; -1: none.
        takes: bool (P,), whether it would take that ground truth if it were set right.
        of_size: (P,3), for each of `SIZES` the ground truth (of T) of that size that it takes; `WRONG`, or `ASIDE`: it
            does not count there.
        truth_image, truth_row, truth_label, truth_area: (T,), as of the detections; the area in square pixels.
        missed: bool (T,).
        taken_for, taken_row: (T,), the label of the detection with the highest score that overlaps it by half, and its
            row among its image's; -1: there is none.
    """

    image: np.ndarray
    row: np.ndarray
    label: np.ndarray
    score: np.ndarray
    kind: np.ndarray
    truth: np.ndarray
    takes: np.ndarray
    of_size: np.ndarray
    truth_image: np.ndarray
    truth_row: np.ndarray
    truth_label: np.ndarray
    truth_area: np.ndarray
    missed: np.ndarray
    taken_for: np.ndarray
    taken_row: np.ndarray

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

    def curve(self, some: Share | None = None) -> np.ndarray:
        """Precision at COCO's 101 recalls from 0 to 1 (101,), the mean over classes; NaN without ground truth.

        Args:
            some: what counts; None: everything.
        """
        if some is None:
            return _curve(self.label, self.score, self.kind == RIGHT, self.truth_label, self.truth_label)
        left = self.truth_label[some.truths]
        return _curve(self.label[some.detections], self.score[some.detections], some.takes >= 0, left, left)

    def share(self, detections: np.ndarray, truths: np.ndarray) -> Share:
        """Of some detections (of P) and ground truths (of T), all of the same images and classes."""
        takes = np.where(self.kind[detections] == RIGHT, self.truth[detections], WRONG)
        return Share(detections, takes, truths)

    def share_of_size(self, size: str) -> Share:
        """Of ground truths of a size, with detections as COCO counts them: one that takes a ground truth of another
        size, or takes none and has another size itself, does not count."""
        takes = self.of_size[:, list(SIZES).index(size)]
        counts = np.flatnonzero(takes != ASIDE)
        return Share(counts, takes[counts], np.flatnonzero(_within(self.truth_area, size)))

    def confused(self, label: int | None = None, other: int | None = None) -> np.ndarray:
        """Which ground truths (of T) are taken for something else, or those with a label for another."""
        wrong = (self.taken_for >= 0) & (self.taken_for != self.truth_label)
        if label is not None:
            wrong &= (self.truth_label == label) & (self.taken_for == other)
        return np.flatnonzero(wrong)

    def confusions(self) -> list[tuple[int, int, int]]:
        """Ground truths whose best detection has another label: label, taken for, how often; the most frequent first.

        The best detection is the one with the highest score that overlaps it by half, of whatever class.
        """
        wrong = self.confused()
        pairs = np.stack([self.truth_label[wrong], self.taken_for[wrong]], 1)
        found, counts = np.unique(pairs, axis=0, return_counts=True)
        rows = [(int(label), int(other), int(count)) for (label, other), count in zip(found, counts, strict=True)]
        return sorted(rows, key=lambda row: -row[2])


def find(results: Sequence[Result]) -> Mistakes:
    """The mistakes in the results of all images."""
    parts = [_of_image(number, result) for number, result in enumerate(results)]
    firsts = np.cumsum([0, *(len(result.truths) for result in results)])
    for part, first in zip(parts, firsts, strict=False):
        for name in ("truth", "of_size"):
            part[name][part[name] >= 0] += first
    names = _of_image(0, _NOTHING).keys()
    return Mistakes(**{name: _joined([part[name] for part in parts], name) for name in names})


def _of_image(image: int, result: Result) -> dict[str, np.ndarray]:
    """The fields of `Mistakes`; truths are numbered within the image."""
    overlaps = overlaps_of(result)
    matches, order = match(overlaps), overlaps.order
    own = result.labels[order][:, None] == result.truth_labels[None]
    taken = np.zeros(len(result.truths), bool)
    taken[matches.truth[matches.truth >= 0]] = True
    near, at = _closest(np.where(own, overlaps.all, 0))
    other, other_at = _closest(np.where(own, 0, overlaps.all))
    again, again_at = _closest(np.where(own & taken, overlaps.all, 0))
    anything, _ = _closest(overlaps.all)
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
    over = (overlaps.all >= IOU) & ~matches.ignored[:, None]
    best = np.where(over.any(0), order[over.argmax(0)], -1) if len(over) else np.full(len(taken), -1)
    counted = ~matches.ignored
    return {
        "image": np.full(counted.sum(), image),
        "row": order[counted],
        "label": result.labels[order][counted],
        "score": result.scores[order][counted],
        "kind": kind[counted],
        "truth": truth[counted].copy(),
        "takes": takes[counted],
        "of_size": _of_sizes(result, overlaps)[counted],
        "truth_image": np.full(len(taken), image),
        "truth_row": np.arange(len(taken)),
        "truth_label": result.truth_labels,
        "truth_area": _truth_areas(result),
        "missed": missed,
        "taken_for": np.append(result.labels, -1)[best],
        "taken_row": best,
    }


def _of_sizes(result: Result, overlaps: Overlaps) -> np.ndarray:
    """`Mistakes.of_size` (m,3) in the order of scores; truths are numbered within the image."""
    own, there = areas(result.boxes)[overlaps.order], _truth_areas(result)
    found = []
    for size in SIZES:
        matches = match(overlaps, ~_within(there, size))
        aside = matches.ignored | ((matches.truth < 0) & ~_within(own, size))
        found.append(np.where(aside, ASIDE, matches.truth))
    return np.stack(found, 1)


def _within(area: np.ndarray, size: str) -> np.ndarray:
    least, most = SIZES[size]
    return (least <= area) & (area <= most)


def _truth_areas(result: Result) -> np.ndarray:
    return areas(result.truths) if result.truth_areas is None else result.truth_areas


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
