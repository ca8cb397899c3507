"""How precision falls with recall in an evaluation, as parts of the report: by size, by data set and by class, with
pictures of the mistakes behind each curve.

A page stays readable and bounded however many classes there are: a class is a row that unfolds, and of all classes
together there are at most `PICTURES_IN_ALL` pictures, those of the worst classes where that is not enough for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, zip_longest

import numpy as np

from trainer.reporting import drawing
from trainer.reporting.charts import LineChart, Series
from trainer.reporting.charts.style import COLOURS
from trainer.reporting.judged import Judged
from trainer.reporting.mistakes import RECALLS, SIZES, Mistakes, Share
from trainer.reporting.parts import Part
from trainer.reporting.parts.curves import Curve, Curves
from trainer.reporting.parts.figure import Figure
from trainer.reporting.parts.gallery import Picture, reduced
from trainer.reporting.parts.table import Cell

PICTURES = 4  # of a row
PICTURES_IN_ALL = 1200  # of all classes
LONGEST_SIDE = 360  # pixels of a picture
DRAWN = 8  # wrong detections in a picture
NAMED = 24  # images that a row names
LINES = 2 * len(COLOURS)  # in a chart: so many can be told apart
_HEADER = ("AP50", "objects", "found", "wrong")
_ONCE = (
    "Found are the objects that a detection takes, wrong the detections that take none, whatever their scores. A "
    "click, Enter or the space bar shows a row's curve, pictures of its mistakes, and the names of more images with "
    "some: by turns that of the wrong detection with the highest score and that of the largest object that was not "
    "found, which is dashed in white."
)


def curve_parts(mistakes: Mistakes, judged: Judged) -> Iterator[Part]:
    """The parts; none where nothing is annotated.

    Args:
        mistakes: in the results of `judged`.
    """
    if not len(mistakes.truth_label):
        return
    sizes = {size: mistakes.share_of_size(size) for size in SIZES}
    yield from _chart(mistakes, "by the size of boxes", sizes)
    rows = [_row(mistakes, judged, [size], share, PICTURES) for size, share in sizes.items()]
    yield Curves("By size", ["size", *_HEADER], rows, f"{judged.rule} {_ONCE}")
    several = len(judged.sources) > 1
    if several:
        shares = _shares(mistakes, judged.source[mistakes.label], judged.source[mistakes.truth_label])
        sources = {name: shares.get(number, _NOTHING) for number, name in enumerate(judged.sources)}
        yield from _chart(mistakes, "by data set", sources)
        rows = [_row(mistakes, judged, [name], share, PICTURES) for name, share in sources.items()]
        yield Curves("By data set", ["data set", *_HEADER], rows, "A data set's is the mean over its classes.")
    yield _classes(mistakes, judged, several)


_NOTHING = Share(*(np.zeros(0, int) for _ in range(3)))


def _shares(mistakes: Mistakes, of_detections: np.ndarray, of_truths: np.ndarray) -> dict[int, Share]:
    """What has the same number, by that number, where there is any.

    Args:
        of_detections, of_truths: integers (P,), (T,).
    """
    orders = [np.argsort(one, kind="stable") for one in (of_detections, of_truths)]
    found = {}
    for number in np.unique(np.concatenate([of_detections, of_truths])).tolist():
        detections, truths = (
            order[slice(*np.searchsorted(own, [number, number + 1], sorter=order))]
            for own, order in zip((of_detections, of_truths), orders, strict=True)
        )
        found[number] = mistakes.share(detections, truths)
    return found


def _chart(mistakes: Mistakes, by: str, shares: Mapping[str, Share]) -> Iterator[Figure]:
    """A line for all, and one for each share that has any, as far as they can be told apart."""
    curves = {"all": mistakes.curve()} | {name: mistakes.curve(share) for name, share in shares.items()}
    series = [
        Series(name, y.tolist(), RECALLS.tolist(), float(y.mean()))
        for name, y in curves.items()
        if not np.isnan(y).any()
    ]
    if len(series) <= LINES:
        title = f"Precision by recall and AP50, {by}"
        yield Figure(LineChart(title, "recall", series, bottom=0.0))


def _classes(mistakes: Mistakes, judged: Judged, several: bool) -> Curves:
    """A row for each class that has objects or detections, the worst first; those without objects have no AP, and come
    last."""
    shares = _shares(mistakes, mistakes.label, mistakes.truth_label)
    precision = {label: mistakes.curve(share).mean() for label, share in shares.items()}
    order = sorted(shares, key=lambda label: (np.nan_to_num(precision[label], nan=2), -len(shares[label].truths)))
    each = max(min(PICTURES, PICTURES_IN_ALL // len(order)), 1)
    rows = [
        _row(
            *(mistakes, judged),
            [judged.names[label], *([judged.sources[judged.source[label]]] if several else [])],
            shares[label],
            each if place * each < PICTURES_IN_ALL else 0,
        )
        for place, label in enumerate(order)
    ]
    note = "The worst first. A class without objects has no AP."
    if absent := len(judged.names) - len(order):
        note += f" {absent:,} more of the {len(judged.names):,} classes have neither objects nor detections."
    if len(order) * each > PICTURES_IN_ALL:
        note += f" The first {PICTURES_IN_ALL:,} have a picture."
    header = ["class", *(["data set"] if several else []), *_HEADER]
    return Curves("By class", header, rows, note)


def _row(mistakes: Mistakes, judged: Judged, name: list[Cell], share: Share, pictures: int) -> Curve:
    wrong, lost = share.wrong, share.lost
    wrong = wrong[np.argsort(-mistakes.score[wrong], kind="stable")]
    lost = lost[np.argsort(-mistakes.truth_area[lost], kind="stable")]
    by_turns = zip_longest(_firsts(mistakes.image[wrong]), _firsts(mistakes.truth_image[lost]))
    images = list(dict.fromkeys(image for image in chain.from_iterable(by_turns) if image is not None))
    precisions = mistakes.curve(share)
    cells = [*name, float(precisions.mean()), len(share.truths), len(share.truths) - len(lost), len(wrong)]
    named = ", ".join(judged.results[image].title for image in images[:NAMED])
    more = f" and {len(images) - NAMED:,} more" if len(images) > NAMED else ""
    return Curve(
        cells,
        [] if np.isnan(precisions).any() else precisions.tolist(),
        [_picture(mistakes, judged, image, share, wrong, lost) for image in images[:pictures]],
        f"Images with mistakes: {named}{more}." if images else "No image with a mistake.",
    )


def _firsts(images: np.ndarray) -> list[int]:
    """Each image once, in the order in which they come first."""
    _, first = np.unique(images, return_index=True)
    return [int(image) for image in images[np.sort(first)]]


def _picture(
    mistakes: Mistakes, judged: Judged, image: int, share: Share, wrong: np.ndarray, lost: np.ndarray
) -> Picture:
    """An image of a share, with its `wrong` detections, the best first, and its `lost` objects."""
    result = judged.results[image]
    rows = mistakes.row[wrong[mistakes.image[wrong] == image]]
    objects = mistakes.truth_row[lost[mistakes.truth_image[lost] == image]]
    there = int((mistakes.truth_image[share.truths] == image).sum())
    shown = rows[:DRAWN]
    called = [judged.names[label] for label in result.labels[shown]]
    image_read = judged.load(image)
    # Reduced at once: of so many pictures the whole ones would take gigabytes, and no letter could be read.
    small = np.asarray(reduced(image_read, drawing.SMALLEST_SIDE))
    scale = small.shape[1] / image_read.shape[1]
    drawn = drawing.draw(
        *(small, result.boxes[shown] * scale, called, result.scores[shown], result.truths[objects] * scale),
        [judged.names[label] for label in result.truth_labels[objects]],
    )
    said = [f"{len(rows):,} wrong, the first “{called[0]}” with {result.scores[shown[0]]:.2f}"] if len(rows) else []
    said += [f"{len(objects):,} of {there:,} objects not found"] if len(objects) else []
    return Picture(np.asarray(reduced(drawn, LONGEST_SIDE)), result.title, "; ".join(said))
