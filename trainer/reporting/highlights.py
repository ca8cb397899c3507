"""The best and the worst images of an evaluation, to be looked at.

    detections, ground truth of every image ──judge──► Verdicts ──best_and_worst──► which images ──galleries──► report

An image is judged by its own average precision at IoU 0.5: its detections of all classes in one list by score
(`trainer.reporting.matches` says which are right). That is no metric of the data set, whose average precision ranks the
detections of all images together; it tells images apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.reporting import drawing
from trainer.reporting.matches import Result, match, overlaps_of
from trainer.reporting.parts.gallery import Gallery, Picture

DRAWN = 12  # detections drawn in a picture, at least as many as there are ground truths


@dataclass(frozen=True)
class Verdict:
    """How good an image's detections are.

    Attributes:
        precision: average precision at IoU 0.5; NaN without ground truth.
        truths: how many there are.
        found: how many of them are among the image's first `truths` detections.
    """

    precision: float
    truths: int
    found: int

    def __str__(self) -> str:
        return (
            f"AP50 {self.precision:.2f}; {self.found} of {self.truths} objects among its first {self.truths} detections"
        )


def judge(result: Result) -> Verdict:
    """The verdict on one image."""
    count = len(result.truths)
    if not count:
        return Verdict(float("nan"), 0, 0)
    matches = match(overlaps_of(result))
    right = matches.truth[~matches.ignored] >= 0
    precisions = np.cumsum(right) / np.arange(1, len(right) + 1)
    # the best precision at this recall or a larger one, as COCO has it
    precisions = np.maximum.accumulate(precisions[::-1])[::-1]
    return Verdict(float(precisions[right].sum() / count), count, int(right[:count].sum()))


def best_and_worst(verdicts: Sequence[Verdict], count: int) -> tuple[list[int], list[int]]:
    """Indices of the `count` best and the `count` worst images, each from the extreme on; no image is in both.

    Images without ground truth are in neither. Among equals those with more ground truths come first.
    """
    judged = [index for index, verdict in enumerate(verdicts) if verdict.truths]
    count = min(count, len(judged) // 2 + len(judged) % 2)
    best = sorted(judged, key=lambda i: (-verdicts[i].precision, -verdicts[i].truths, i))[:count]
    rest = [index for index in judged if index not in best]
    worst = sorted(rest, key=lambda i: (verdicts[i].precision, -verdicts[i].truths, i))[:count]
    return best, worst


def galleries(
    results: Sequence[Result], names: Sequence[str], load: Callable[[int], np.ndarray], count: int = 8
) -> tuple[Gallery, Gallery]:
    """The best and the worst images, drawn.

    Args:
        results: of every image.
        names: of the labels.
        load: image `index` of `results` as u8 (H,W,3), RGB; asked for the chosen ones only.
        count: pictures in each gallery.
    """
    verdicts = [judge(result) for result in results]
    best, worst = best_and_worst(verdicts, count)

    def picture(index: int) -> Picture:
        result = results[index]
        called = [names[label] for label in result.labels]
        most = max(DRAWN, verdicts[index].truths)
        shown = drawing.distinct(result.boxes, result.scores, -np.inf, most)
        drawn = drawing.draw(
            load(index),
            result.boxes[shown],
            [called[row] for row in shown],
            result.scores[shown],
            result.truths,
            [names[label] for label in result.truth_labels],
        )
        return Picture(drawn, result.title, str(verdicts[index]))

    note = "Detections in the colours of their names, the best first; ground truth dashed in white."
    return (
        Gallery("Best images", [picture(index) for index in best], note),
        Gallery("Worst images", [picture(index) for index in worst], note),
    )
