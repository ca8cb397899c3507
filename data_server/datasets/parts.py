"""All data sets of a stream under one index.

Several data sets at once are nested in wrappers; each keeps its own classes, and an image carries the number of its
data set. That is kept here and in `data_server.datasets.wrappers`, and not left to MMDetection's wrappers, which
demand equal classes.

Building runs once per stream, in the stream's nursery; the workers forked from it share its memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xxhash

from data_server.datasets import mix, wrappers
from data_server.datasets.annotated import Fingerprint
from data_server.datasets.building import open_registries
from data_server.datasets.part import Part
from shared import archives
from shared.datasets import parts_of
from shared.errors import UserError
from shared.image_ids import stream_ids
from shared.terminal import write_line


class Datasets:
    """All data sets of a stream under one index: end to end, or in the order of the wrappers around them.

    Attributes:
        parts: the data sets.
        proposals: the most that an image has; 0 where none are asked for.
        image_sizes: int64 (length, 2), width and height of each image.
        edges: of each data set, the longest side of an image and the longest of the shorter sides, in pixels; zeros
            where the annotations do not say all sizes.
        max_boxes: the most that an image has.
        fingerprint: of the annotations and proposals; it does not depend on where the files are.
    """

    def __init__(self, config: dict[str, Any], say: Callable[[str], None] = write_line) -> None:
        """Builds from the data part of a trainer's config (`shared.data_part`).

        Args:
            say: called with a line about what takes long.

        Raises:
            UserError: a file is missing or malformed, a class is unknown, or nothing is left after filtering.
        """
        open_registries(config.get("custom_imports"))
        parts = enumerate(parts_of(config["dataset"]))
        later = config.get("switch")
        self.parts = [Part(part, number, training=config["training"], later=later, say=say) for number, part in parts]
        with_proposals = [part.proposals is not None for part in self.parts]
        if any(with_proposals) and not all(with_proposals):
            raise UserError(
                f"data set {with_proposals.index(False)} (counted from 0) has no proposal_file, "
                f"data set {with_proposals.index(True)} has one; all of a ConcatDataset need one, or none"
            )
        # One number for the whole stream: the trainer compiles its kernels for it.
        self.proposals = max((part.proposals.most for part in self.parts if part.proposals is not None), default=0)
        mix.join(config["dataset"], self.parts)
        self._ends = np.cumsum([len(part) for part in self.parts])
        self._order = wrappers.order_of(config["dataset"], self.parts)
        if self._order is not None:
            for part in self.parts:
                part.weigh(self._order[self.indices_of(part)] - self._start(part))
        self._by_id: np.ndarray | None = None
        self._look_through(config["training"])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._order is None else len(self._order)

    def locate(self, index: int) -> tuple[Part, int]:
        """The data set that holds image `index`, and the image's index there."""
        place = index if self._order is None else int(self._order[index])
        part = self.parts[int(np.searchsorted(self._ends, place, side="right"))]
        return part, place - self._start(part)

    def open_archives(self) -> None:
        """Opens the archives that images lie in, for this process and those that it forks.

        Raises:
            UserError: one cannot be read.
        """
        archives.open_all(path for part in self.parts for path in _image_paths(part))

    def switch(self, switched: bool) -> None:
        """Makes the samples that follow by the pipeline of the last epochs, or by that of the first."""
        for part in self.parts:
            part.switch(switched)

    def indices_of(self, part: Part) -> np.ndarray:
        """int64 (n,), where the images of a data set are, ascending."""
        start = self._start(part)
        if self._order is None:
            return np.arange(start, start + len(part))
        return np.flatnonzero((self._order >= start) & (self._order < start + len(part)))

    def first_index(self, part: Part, row: int) -> int | None:
        """Where image `row` of a data set is first; None where wrappers leave it out."""
        place = self._start(part) + row
        if self._order is None:
            return place
        found = np.flatnonzero(self._order == place)
        return int(found[0]) if len(found) else None

    def image_id(self, part: Part, index: int) -> int:
        """What batches call image `index` of a data set, see `shared.image_ids`."""
        return int(self.image_ids[self._start(part) + index])

    def _start(self, part: Part) -> int:
        return int(self._ends[part.dataset_id]) - len(part)

    @property
    def sizes(self) -> list[int]:
        """How many images of each data set there are."""
        return [len(self.indices_of(part)) for part in self.parts]

    @property
    def is_mixed(self) -> bool:
        """Whether images of a data set stand among those of another."""
        return any(len(found) <= found[-1] - found[0] for found in map(self.indices_of, self.parts))

    def by_class(self) -> list[np.ndarray]:
        """The images that each class is in, int64, ascending; classes of one name are one."""
        return wrappers.by_class(self.parts, self._order)

    @property
    def classes(self) -> list[list[str]]:
        """The names of each data set's classes by label."""
        return [part.classes for part in self.parts]

    def _look_through(self, training: bool) -> None:
        """Looks at all that is annotated, once."""
        self.max_boxes, fingerprint = 0, Fingerprint()
        self.edges: list[tuple[int, int]] = []
        sizes: list[np.ndarray] = []
        groups = []
        for part in self.parts:
            identities: list[Any] = []
            long = short = 0.0
            known = True
            for some in part.all_annotated():
                fingerprint.update(some)
                sizes.append(some.sizes.astype(np.int64))
                identities.append(some.identities)
                self.max_boxes = max(self.max_boxes, int(some.counts.max()) * part.most)
                long, short = max(long, some.sizes.max()), max(short, some.sizes.min(1).max())
                known = known and bool(some.sizes.all())
            self.edges.append((math.ceil(long), math.ceil(short)) if known else (0, 0))
            groups.append(_joined(identities))
        self.image_sizes = np.concatenate(sizes)
        others = [part.proposals.fingerprint for part in self.parts if part.proposals is not None]
        if self._order is not None:
            self.image_sizes = self.image_sizes[self._order]
            others.append(xxhash.xxh3_64(self._order.data).digest())
        self.fingerprint = fingerprint.hexdigest(*others)
        # End to end. Predictions carry no dataset_ids, so what is judged needs ids that no two images share.
        self.image_ids = stream_ids(*groups) if training else stream_ids(_joined(groups))

    def located(self, image_ids: np.ndarray) -> list[tuple[Part, int]]:
        """The data set, and the index there, of each image that batches call so; not for training.

        Raises:
            UserError: there is no image of such a name.
        """
        if self._by_id is None:
            self._by_id = np.argsort(self.image_ids, kind="stable")
        places = np.searchsorted(self.image_ids, image_ids, sorter=self._by_id)
        found = self._by_id[np.minimum(places, len(self) - 1)]
        unknown = image_ids[self.image_ids[found] != image_ids]
        if len(unknown):
            raise UserError(f"predictions of image id {unknown[0]}, which no image of the stream has")
        return [self.locate(index) for index in found.tolist()]


def _joined(groups: list[Any]) -> Any:
    """Ids one after the other: int64 (n,), or where some are none a list."""
    if all(isinstance(group, np.ndarray) for group in groups):
        return np.concatenate(groups)
    return [one for group in groups for one in (group.tolist() if isinstance(group, np.ndarray) else group)]


def _image_paths(part: Part) -> Iterator[str]:
    """Of the images that may lie in archives: none of a data set whose first does not."""
    if len(part) and archives.member(part.image_path(0)):
        yield from map(part.image_path, range(len(part)))
