"""MMDetection's data sets over an index: the records are made on demand, from columns that all processes share, and
equal to MMDetection's to the last key.

    MMDetection    load_data_list ─► a dict for each image ─► filter_data ─► pickled, one after the other
    here           `rows`, the images that are left, in order ─► get_data_info(i) makes the dict of image rows[i]

    coco           files in COCO's format, of six classes
    open_images    OpenImages' CSV file of boxes, with its pickle of image sizes
    voc            a folder of XML files

That is done where MMDetection's own methods would read the files, filter them and hand out records, whatever else a
class adds. A class that has one of these methods of its own keeps it, and MMDetection reads the files.
"""

from __future__ import annotations

import copy
import functools
import os.path as osp
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from mmdet.datasets.base_det_dataset import BaseDetDataset

from data_server.datasets.annotated import Annotated
from data_server.files.index.columns import Columns
from shared import source

# What makes the records of MMDetection's classes, and hands them out.
_METHODS = (
    "__len__",
    "_copy_without_annotation",
    "_get_serialized_subset",
    "_get_unserialized_subset",
    "_serialize_data",
    "full_init",
    "get_cat_ids",
    "get_data_info",
    "get_subset",
    "get_subset_",
    "load_proposals",
    "metainfo",
    "parse_data_info",
)


def own_method(kind: type, reference: type, more: Iterable[str]) -> str | None:
    """A method among those that make records, and `more`, that `kind` has not from `reference`; None where none is."""
    for name in (*more, *_METHODS):
        if getattr(kind, name) is not getattr(reference, name):
            return f"{kind.__name__} has its own {name}"
    return None


def elsewhere(dataset: Any) -> str | None:
    """Where the annotations of a data set are read from, if that is not a file of this machine."""
    if not source.is_remote(str(dataset.ann_file), dataset.backend_args):
        return None
    return f"{dataset.ann_file!r} is read by backend_args={dataset.backend_args!r}"


@functools.cache
def over(way: type, kind: type) -> type:
    """`kind`, one of MMDetection's data sets, whose records are made in `way`, a subclass of `Indexed`."""
    return type(kind.__name__, (way, kind), {"__module__": kind.__module__, "_original": kind})


class Indexed(BaseDetDataset):
    """What a data set over an index does in its own way.

    Attributes:
        columns: of the index; image.width and image.height among them.
        rows: (images,), the rows of its images there.
    """

    columns: Columns
    rows: np.ndarray
    _original: type
    _fully_initialized: bool

    @abstractmethod
    def _prepare(self) -> None:
        """What MMDetection's `load_data_list` does besides reading records."""

    @abstractmethod
    def _filtered(self, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` that MMDetection's `filter_data` keeps."""

    @abstractmethod
    def _record(self, row: int) -> dict[str, Any]:
        """MMDetection's record of an image."""

    @abstractmethod
    def image_path(self, idx: int) -> str:
        """The file of an image."""

    @abstractmethod
    def identities(self, start: int, stop: int) -> Any:
        """The ids of images: int64 (n,), or a list of texts."""

    @abstractmethod
    def identified(self, text: str) -> np.ndarray:
        """bool (images,), which images have the id `text`."""

    def named(self, text: str) -> np.ndarray:
        """bool (images,), which images have `text` in the name of their file."""
        names = (osp.basename(self.image_path(row)) for row in range(len(self)))
        return np.fromiter((text in name for name in names), bool, len(self))

    @abstractmethod
    def annotated(self, start: int, stop: int) -> Annotated:
        """What is annotated about images, without making their records."""

    def _all(self) -> np.ndarray:
        """The rows of all images but those that MMDetection skips."""
        return np.arange(self.columns.facts["images"], dtype=np.int32)

    def full_init(self) -> None:
        """Finds the images that are left after filtering."""
        if self._fully_initialized:
            return
        self._prepare()
        self.rows = self._filtered(self._all())
        if self._indices is not None:
            self.rows = _subset(self.rows, self._indices)
        self._fully_initialized = True

    def __len__(self) -> int:
        return len(self.rows)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """MMDetection's record of an image."""
        record = self._record(int(self.rows[idx]))
        record["sample_idx"] = idx if idx >= 0 else len(self) + idx
        return record

    def get_cat_ids(self, idx: int) -> list[int]:
        """The labels of an image's boxes."""
        place = range(len(self))[idx]
        found: list[int] = self.annotated(place, place + 1).labels.tolist()
        return found

    def size(self, idx: int) -> tuple[int, int]:
        """Width and height of an image."""
        row = self.rows[idx]
        return int(self.columns["image.width"][row]), int(self.columns["image.height"][row])

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """float64 (n, 2), widths and heights of images."""
        pair = [self.columns["image.width"][rows], self.columns["image.height"][rows]]
        return np.stack(pair, 1).astype(np.float64)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The records of all images, unfiltered."""
        return [self._record(row) for row in self._all().tolist()]

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Keeps some of the images."""
        self.rows = _checked_subset(self.rows, indices)

    def get_subset(self, indices: Sequence[int] | int) -> Indexed:
        """A copy with some of the images."""
        other = copy.deepcopy(self)
        other.get_subset_(indices)
        return other


def any_of(wanted: np.ndarray, first: np.ndarray) -> np.ndarray:
    """bool (images,), whether one of an image's annotations is `wanted` (n,); those of image i are `first[i]` to
    `first[i + 1]`."""
    found = np.zeros(len(first) - 1, bool)
    filled = first[1:] > first[:-1]
    if filled.any():  # reduceat takes no empty group
        found[filled] = np.logical_or.reduceat(wanted[: first[-1]], first[:-1][filled])
    return found


def places(first: np.ndarray, rows: np.ndarray) -> Any:
    """Where the annotations of images are, one image after the other: a slice where they lie so, or int64 (n,)."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(first[rows[0]]), int(first[rows[-1] + 1]))
    begins, lengths = first[rows], first[rows + 1] - first[rows]
    return np.repeat(begins - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())


def counts_of(kept: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int64 (images,), how many of each image's annotations, which there are `lengths` of, are `kept`."""
    ends = np.concatenate([[0], np.cumsum(kept)])[np.concatenate([[0], np.cumsum(lengths)])]
    return np.diff(ends)


def _subset(rows: np.ndarray, indices: Any) -> np.ndarray:
    """As MMEngine takes the data set's key ``indices``."""
    if isinstance(indices, int):
        return rows[:indices] if indices >= 0 else rows[indices:]
    if not isinstance(indices, Sequence):
        raise TypeError(f"indices should be a int or sequence of int, but got {type(indices)}")
    return rows[np.array([*indices], np.int64)]


def _checked_subset(rows: np.ndarray, indices: Any) -> np.ndarray:
    """As MMEngine takes the indices of its `get_subset`."""
    if isinstance(indices, int):
        most = indices if indices >= 0 else -indices - 1
        assert most < len(rows), f"{indices} is out of dataset length({len(rows)}"
    elif isinstance(indices, Sequence):
        assert all(len(rows) > one >= -len(rows) for one in indices)
    return _subset(rows, indices)
