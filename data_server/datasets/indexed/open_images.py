"""MMDetection's OpenImagesDataset over an index."""

from __future__ import annotations

import os.path as osp
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import OpenImagesDataset

from data_server.datasets.annotated import Annotated
from data_server.datasets.indexed import Indexed, elsewhere, over, own_method, places
from data_server.files.index import open_images, text_search
from data_server.files.index.cache import Say
from data_server.files.index.json_pieces import Unfit

_ENDING = ".jpg"
REFERENCE = OpenImagesDataset
_METHODS = ("__init__", "_get_relation_matrix", "_parse_label_file", "filter_data", "load_data_list")


def refusal(kind: type) -> str | None:
    """Why data sets of a class of this kind cannot be had over an index; None where they can."""
    return own_method(kind, REFERENCE, _METHODS)


def put_over(dataset: Any, say: Say) -> None:
    """Makes a data set that is not yet initialised read the index of its files.

    Raises:
        Unfit: it has to be read by MMDetection.
        OSError: a file cannot be read.
    """
    if fault := elsewhere(dataset):
        raise Unfit(fault)
    if dataset.image_level_ann_file is not None:
        raise Unfit("it has an image_level_ann_file")
    columns = open_images.index_of(Path(dataset.ann_file), Path(dataset.meta_file), say)
    _, label_of = dataset._parse_label_file(dataset.label_file)
    if unknown := [one for one in columns.facts["labels"] if one not in label_of]:
        raise Unfit(f"its label_file has no {unknown[0]!r}")
    dataset.columns = columns
    dataset.__class__ = over(IndexedOpenImages, type(dataset))  # type: ignore[arg-type]


class IndexedOpenImages(Indexed, OpenImagesDataset):
    """Over `columns`, see `data_server.files.index.open_images`."""

    def _prepare(self) -> None:
        self._metainfo["classes"], self.label_id_mapping = self._parse_label_file(self.label_file)
        self._metainfo["RELATION_MATRIX"] = self._get_relation_matrix(self.hierarchy_file)
        self._ids = self.columns.texts("image.id")
        self._labels = np.array([int(self.label_id_mapping[one]) for one in self.columns.facts["labels"]], np.int64)

    def _filtered(self, rows: np.ndarray) -> np.ndarray:
        return rows

    def image_path(self, idx: int) -> str:
        return self._path(int(self.rows[idx]))

    def identities(self, start: int, stop: int) -> list[str]:
        return [self._ids[row] for row in self.rows[start:stop]]

    def identified(self, text: str) -> np.ndarray:
        return text_search.equal(self._ids, text)[self.rows]

    def named(self, text: str) -> np.ndarray:
        found = text_search.in_names(self._ids, text, _ENDING)
        if self._last_is_another:
            found[-1] = found[-2]
        return found[self.rows]

    def annotated(self, start: int, stop: int) -> Annotated:
        columns, rows = self.columns, self.rows[start:stop]
        first = columns["image.first"]
        place = places(first, rows)
        boxes = columns["box.box"][place]
        return Annotated(
            identities=self.identities(start, stop),
            sizes=self.sizes(rows),
            counts=first[rows + 1] - first[rows],
            boxes=boxes,
            labels=self._labels[columns["box.label"][place]],
            ignored=np.zeros(len(boxes), np.int64),
        )

    def _path(self, row: int) -> str:
        if row == len(self._ids) - 1 and self._last_is_another:
            row -= 1
        return osp.join(self.data_prefix["img"], self._ids[row] + _ENDING)

    @property
    def _last_is_another(self) -> bool:
        """MMDetection's own: a last image of one box has the path of the image before it."""
        first = self.columns["image.first"]
        return len(first) > 2 and bool(first[-1] - first[-2] == 1)

    def _record(self, row: int) -> dict[str, Any]:
        columns = self.columns
        start, stop = columns["image.first"][row : row + 2].tolist()
        boxes, flags = columns["box.box"][start:stop].tolist(), columns["box.flags"][start:stop].tolist()
        labels = self._labels[columns["box.label"][start:stop]].tolist()
        return {
            "img_path": self._path(row),
            "img_id": self._ids[row],
            "instances": [
                {
                    "bbox": box,
                    "bbox_label": label,
                    "ignore_flag": 0,
                    **{name: bool(bits >> bit & 1) for bit, name in enumerate(open_images.FLAGS)},
                }
                for box, label, bits in zip(boxes, labels, flags, strict=True)
            ],
            "height": int(columns["image.height"][row]),
            "width": int(columns["image.width"][row]),
        }
