"""What is in a split: its data sets end to end, each image once, in their files' order.

    place   0 .. n-1    an image here; filters say which places are shown
    index               the image in the stream, which wrappers may repeat or leave out; seeds and batches go by it

All questions are answered from columns that are mapped into memory (`data_server.files.index`), wherever a data set has
them: a filter goes through all boxes of COCO in a moment, and nothing is kept of it but the places.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from data_server.datasets.annotated import Annotated
from data_server.datasets.bounds import gather
from data_server.datasets.indexed import Indexed
from data_server.datasets.part import Part
from data_server.datasets.parts import Datasets
from data_server.serving.plan import Plan
from shared.errors import UserError

# Areas of boxes in pixels of the file, from the first up to the second: COCO's three.
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
_FILTERS = 8  # kept
_AT_A_TIME = 1 << 14  # images


@dataclass(frozen=True)
class Wanted:
    """Which images: those of data set `source`, with a box of class `name` and of `size`, with the id `find` or that in
    the name of their file; None: any."""

    source: int | None = None
    name: str | None = None
    size: str | None = None
    find: str | None = None


class Catalogue:
    """A split, and its stream.

    Args:
        config: the data part of a trainer's config (`shared.data_part`).
        seed: the stream's.
        say: told what takes long.

    Raises:
        UserError: a data set cannot be built.
    """

    def __init__(self, config: dict[str, Any], seed: int, say: Callable[[str], None]) -> None:
        self.config = config
        self.datasets = Datasets(config, say)
        self.parts = self.datasets.parts
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in self.parts])])
        self.pipeline = threading.Lock()  # pipelines and their random generators are for one at a time
        self.chosen = lru_cache(_FILTERS)(self._chosen)
        self._seed = seed
        self._plan: Plan | None = None
        self._planning = threading.Lock()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def outline(self) -> dict[str, Any]:
        """How many images there are, and the data sets that they are of, with the names of their classes by label."""
        sources = [{"name": str(part), "images": len(part), "classes": part.classes} for part in self.parts]
        return {"images": len(self), "sources": sources}

    def at(self, place: int) -> tuple[Part, int]:
        """The data set of an image, and its row there. Raises UserError where there is no such place."""
        if place not in range(len(self)):
            raise UserError(f"image {place}: expected 0 to {len(self) - 1}")
        source = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self.parts[source], place - int(self.starts[source])

    def index_of(self, place: int) -> int:
        """Where an image is in the stream first. Raises UserError where wrappers leave it out."""
        index = self.datasets.first_index(*self.at(place))
        if index is None:
            raise UserError(f"image {place} is in no epoch: a wrapper of the data set leaves it out")
        return index

    def annotated(self, source: int | None = None) -> Iterator[tuple[int, Part, Annotated]]:
        """All images, or those of one data set, some at a time: the first one's place, its data set, what it says."""
        for number, part in enumerate(self.parts):
            for start in range(0, len(part), _AT_A_TIME) if source in (None, number) else ():
                yield int(self.starts[number]) + start, part, part.annotated(start, min(start + _AT_A_TIME, len(part)))

    def _chosen(self, wanted: Wanted) -> np.ndarray:
        """int64 (n,), the places of the images that are wanted, ascending."""
        found = [np.zeros(0, np.int64)]
        for number, part in enumerate(self.parts):
            if wanted.source in (None, number):
                boxed = wanted.name is not None or wanted.size is not None
                rows = self._with_box(number, wanted) if boxed else np.arange(len(part))
                if wanted.find is not None:
                    rows = rows[meant(part, wanted.find, rows)]
                found.append(rows + int(self.starts[number]))
        return np.concatenate(found)

    def _with_box(self, source: int, wanted: Wanted) -> np.ndarray:
        """int64 (n,), the rows of a data set's images that have a box of the class and size that are wanted."""
        found = []
        for start, part, some in self.annotated(source):
            kept = np.ones(len(some.boxes), bool)
            if wanted.name is not None:
                label = part.classes.index(wanted.name) if wanted.name in part.classes else -2
                kept &= labels_of(some) == label
            if wanted.size is not None:
                least, most = SIZES[wanted.size]
                area = (some.boxes[:, 2:] - some.boxes[:, :2]).prod(1)
                kept &= (area >= least) & (area < most)
            rows = np.unique(np.repeat(np.arange(len(some.counts)), some.counts)[kept])
            found.append(rows + start - int(self.starts[source]))
        return np.concatenate(found)

    def entry(self, place: int) -> dict[str, Any]:
        """What a list says of an image; boxes are [x1, y1, x2, y2, label, 1 for a crowd], in pixels of the file."""
        part, row = self.at(place)
        some = part.annotated(row, row + 1)
        width, height = some.sizes[0].tolist()
        labels = labels_of(some).tolist()
        return {
            "place": place,
            "source": part.dataset_id,
            "id": str(some.identities[0]),
            "file": part.image_path(row),
            "width": width,
            "height": height,
            "boxes": [
                [*box, label, int(crowd)]
                for box, label, crowd in zip(some.boxes.tolist(), labels, crowds_of(some).tolist(), strict=True)
                if not np.isnan(box).any()
            ],
        }

    def image_of_annotation(self, source: int, number: int) -> str:
        """The id of the image that annotation `number` of a data set's file is of; empty where its index has none."""
        dataset = self.parts[source].dataset
        if not isinstance(dataset, Indexed) or "annotation.number" not in dataset.columns:
            return ""
        columns = dataset.columns
        rows = np.flatnonzero(columns["annotation.number"] == number)
        image = int(np.searchsorted(columns["image.first"], rows[:1], side="right").sum()) - 1
        if not 0 <= image < columns.facts["images"]:
            return ""
        return str(columns.texts("image.id")[image] if "image.id.ends" in columns else columns["image.id"][image])

    def plan(self) -> Plan:
        """Of one rank that trains alone. Raises UserError where there is nothing to be planned."""
        with self._planning:
            if self._plan is None:
                self._plan = Plan.of(self.config, gather(self.datasets, self.config), self._seed)
            return self._plan


def labels_of(some: Annotated) -> np.ndarray:
    """int64 (m,), the label of each box; -1 where it is no number."""
    if isinstance(some.labels, np.ndarray):
        return some.labels.astype(np.int64)
    return np.array([one if type(one) is int else -1 for one in some.labels], np.int64)


def crowds_of(some: Annotated) -> np.ndarray:
    """bool (m,), which boxes are crowds and not trained on."""
    if isinstance(some.ignored, np.ndarray):
        return some.ignored == 1
    return np.fromiter((one == 1 for one in some.ignored), bool, len(some.boxes))


def meant(part: Part, find: str, rows: np.ndarray) -> np.ndarray:
    """bool (n,), which images of a data set, `rows` (n,), have the id `find` or that in the name of their file."""
    dataset = part.dataset
    if isinstance(dataset, Indexed):
        found: np.ndarray = (dataset.identified(find) | dataset.named(find))[rows]
        return found
    each = (
        find == str(dataset.get_data_info(row).get("img_id")) or find in os.path.basename(part.image_path(row))
        for row in rows.tolist()
    )
    return np.fromiter(each, bool, len(rows))
