"""An evaluation's mistakes, as parts of the report: what each kind costs, which names are taken for others,
and pictures of the most confident mistakes of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from trainer.reporting import drawing
from trainer.reporting.matches import Result
from trainer.reporting.mistakes import Kind, Mistakes
from trainer.reporting.parts import Part
from trainer.reporting.parts.curves import Curve, Curves
from trainer.reporting.parts.gallery import Gallery, Picture
from trainer.reporting.parts.table import Table
from trainer.reporting.parts.text import Text

PICTURES = 4  # of a kind
CONFUSIONS = 12  # rows of the table
_MEANING = {
    Kind.CLASSIFICATION: "on an object, with another name",
    Kind.LOCALISATION: "the right name, overlapping the object by less than half",
    Kind.BOTH: "another name, overlapping the object by less than half",
    Kind.DUPLICATE: "on an object that is found already",
    Kind.BACKGROUND: "where nothing is",
    Kind.MISSED: "an object that no detection comes close to",
}


def mistake_parts(
    mistakes: Mistakes, results: Sequence[Result], names: Sequence[str], load: Callable[[int], np.ndarray]
) -> Iterator[Part]:
    """The parts.

    Args:
        mistakes: in `results`.
        results: of every image.
        names: of the labels.
        load: image `index` of `results` as u8 (H,W,3), RGB; asked for those that are shown.
    """
    if not len(mistakes.truth_label):
        yield Text("No object is annotated in these images.")
        return
    yield Table(
        "What goes wrong",
        ["", "what it is", "how many", "AP50 it costs"],
        [[_title(kind), _MEANING[kind], mistakes.count(kind), mistakes.cost(kind)] for kind in Kind],
        best=["AP50 it costs"],
        note="The kinds are TIDE's (Bolya et al., 2020). A kind costs what AP50 would gain if it were all set right. "
        "The gains of several kinds do not add up. Wrong detections with low scores are many and cost little.",
    )
    if rows := list(_confusions(mistakes, results, names, load)):
        yield Curves(
            "What is taken for what",
            ["object", "taken for", "times", "of"],
            rows,
            note="Objects whose most confident detection has another name; a row has pictures.",
        )
    for kind in Kind:
        if pictures := list(_pictures(kind, mistakes, results, names, load)):
            note = "One image each, the mistake with the highest score; the object is dashed in white."
            if kind == Kind.MISSED:
                note = "One image each, the largest object; dashed in white."
            yield Gallery(f"{_title(kind)}: {_MEANING[kind]}", pictures, note, folded=True)


def _title(kind: Kind) -> str:
    return kind.name.capitalize()


def _confusions(
    mistakes: Mistakes, results: Sequence[Result], names: Sequence[str], load: Callable[[int], np.ndarray]
) -> Iterator[Curve]:
    there = np.bincount(mistakes.truth_label, minlength=len(names))
    for label, other, count in mistakes.confusions()[:CONFUSIONS]:
        rows = mistakes.confused(label, other)
        scores = [results[mistakes.truth_image[row]].scores[mistakes.taken_row[row]] for row in rows]
        rows = rows[np.argsort(-np.array(scores), kind="stable")]
        images, first = np.unique(mistakes.truth_image[rows], return_index=True)
        pictures = [
            _picture(results, names, load, image, [detection], [truth])
            for image, detection, truth in np.stack([mistakes.truth_image, mistakes.taken_row, mistakes.truth_row], 1)[
                rows[np.sort(first)[:PICTURES]]
            ].tolist()
        ]
        note = f"{len(images):,} images, of each the detection with the highest score; the object is dashed in white."
        yield Curve([names[label], names[other], count, int(there[label])], [], pictures, note)


def _pictures(
    kind: Kind,
    mistakes: Mistakes,
    results: Sequence[Result],
    names: Sequence[str],
    load: Callable[[int], np.ndarray],
) -> Iterator[Picture]:
    if kind == Kind.MISSED:
        rows = np.flatnonzero(mistakes.missed)
        images, order = mistakes.truth_image[rows], np.argsort(-mistakes.truth_area[rows], kind="stable")
    else:
        rows = np.flatnonzero(mistakes.kind == kind)
        images, order = mistakes.image[rows], np.argsort(-mistakes.score[rows], kind="stable")
    _, first = np.unique(images[order], return_index=True)
    for place in rows[order[np.sort(first)[:PICTURES]]]:
        truth = place if kind == Kind.MISSED else mistakes.truth[place]
        image = int(mistakes.truth_image[place] if kind == Kind.MISSED else mistakes.image[place])
        shown = [] if kind == Kind.MISSED else [int(mistakes.row[place])]
        objects = [] if truth < 0 else [int(mistakes.truth_row[truth])]
        yield _picture(results, names, load, image, shown, objects)


def _picture(
    results: Sequence[Result],
    names: Sequence[str],
    load: Callable[[int], np.ndarray],
    image: int,
    shown: list[int],
    objects: list[int],
) -> Picture:
    """An image with some of its detections and ground truths."""
    result = results[image]
    found = [names[result.labels[row]] for row in shown]
    there = [names[result.truth_labels[row]] for row in objects]
    drawn = drawing.draw(load(image), result.boxes[shown], found, result.scores[shown], result.truths[objects], there)
    said = [f"“{name}” with {result.scores[row]:.2f}" for name, row in zip(found, shown, strict=True)]
    return Picture(drawn, result.title, "; ".join([*said, *(f"there is “{name}”" for name in there)]))
