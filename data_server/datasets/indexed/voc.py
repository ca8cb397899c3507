"""MMDetection's data sets of XML files, XMLDataset and VOCDataset, over an index."""

from __future__ import annotations

import os.path as osp
from typing import Any

import numpy as np
from mmdet.datasets import VOCDataset, XMLDataset
from mmengine.fileio import list_from_file

from data_server.datasets.annotated import Annotated
from data_server.datasets.indexed import Indexed, any_of, counts_of, elsewhere, over, own_method, places
from data_server.files.index import text_search, voc
from data_server.files.index.cache import Say
from data_server.files.index.json_pieces import Unfit

_ENDING = ".jpg"
REFERENCE = XMLDataset
_METHODS = ("_parse_instance_info", "bbox_min_size", "filter_data", "load_data_list", "sub_data_root")
_CONSTRUCTORS = (XMLDataset.__init__, VOCDataset.__init__)


def refusal(kind: type) -> str | None:
    """Why data sets of a class of this kind cannot be had over an index; None where they can."""
    if kind.__init__ not in _CONSTRUCTORS:  # type: ignore[misc]
        return f"{kind.__name__} has its own __init__"
    return own_method(kind, REFERENCE, _METHODS)


def put_over(dataset: Any, say: Say) -> None:
    """Makes a data set that is not yet initialised read the index of its files.

    Raises:
        Unfit: it has to be read by MMDetection.
        OSError: a file cannot be read.
    """
    if fault := elsewhere(dataset):
        raise Unfit(fault)
    if dataset.metainfo.get("classes") is None or (dataset.test_mode and dataset.bbox_min_size is not None):
        raise Unfit("MMDetection refuses it")
    identities = list_from_file(dataset.ann_file)
    folder = osp.join(dataset.sub_data_root, dataset.ann_subdir)
    files = [osp.join(folder, f"{one}.xml") for one in identities]
    dataset.columns = voc.index_of(identities, files, say)
    dataset.__class__ = over(IndexedVOC, type(dataset))  # type: ignore[arg-type]


class IndexedVOC(Indexed, XMLDataset):
    """Over `columns`, see `data_server.files.index.voc`."""

    def _prepare(self) -> None:
        self.cat2label = {name: label for label, name in enumerate(self._metainfo["classes"])}
        self._ids = self.columns.texts("image.id")
        self._labels = np.array([self.cat2label.get(one, -1) for one in self.columns.facts["names"]], np.int64)

    def _filtered(self, rows: np.ndarray) -> np.ndarray:
        if self.test_mode or self.filter_cfg is None:
            return rows
        columns = self.columns
        kept = np.minimum(columns["image.width"], columns["image.height"]) >= self.filter_cfg.get("min_size", 0)
        if self.filter_cfg.get("filter_empty_gt", False):
            kept &= any_of(self._labels[columns["object.name"]] >= 0, columns["image.first"])
        return rows[kept[rows]]

    def image_path(self, idx: int) -> str:
        return self._path(int(self.rows[idx]))

    def identities(self, start: int, stop: int) -> list[str]:
        return [self._ids[row] for row in self.rows[start:stop]]

    def identified(self, text: str) -> np.ndarray:
        return text_search.equal(self._ids, text)[self.rows]

    def named(self, text: str) -> np.ndarray:
        return text_search.in_names(self._ids, text, _ENDING)[self.rows]

    def annotated(self, start: int, stop: int) -> Annotated:
        columns, rows = self.columns, self.rows[start:stop]
        first = columns["image.first"]
        place = places(first, rows)
        labels = self._labels[columns["object.name"][place]]
        boxes, ignored = self._boxes(place)
        kept = labels >= 0
        return Annotated(
            identities=self.identities(start, stop),
            sizes=self.sizes(rows),
            counts=counts_of(kept, first[rows + 1] - first[rows]),
            boxes=boxes[kept].astype(np.float64),
            labels=labels[kept],
            ignored=ignored[kept].astype(np.int64),
        )

    def _boxes(self, place: Any) -> tuple[np.ndarray, np.ndarray]:
        """int64 (n, 4), boxes counted from 0, and bool (n,), which of them MMDetection ignores."""
        boxes = self.columns["object.box"][place].astype(np.int64) - 1
        ignored = self.columns["object.difficult"][place]
        if (least := self.bbox_min_size) is not None:
            ignored = ignored | (boxes[:, 2:] - boxes[:, :2] < least).any(1)
        return boxes, ignored

    def _path(self, row: int) -> str:
        return osp.join(self.sub_data_root, osp.join(self.img_subdir, self._ids[row] + _ENDING))

    def _record(self, row: int) -> dict[str, Any]:
        columns, identity = self.columns, self._ids[row]
        start, stop = columns["image.first"][row : row + 2].tolist()
        labels = self._labels[columns["object.name"][start:stop]].tolist()
        boxes, ignored = self._boxes(slice(start, stop))
        return {
            "img_path": self._path(row),
            "img_id": identity,
            "xml_path": osp.join(self.sub_data_root, self.ann_subdir, f"{identity}.xml"),
            "height": int(columns["image.height"][row]),
            "width": int(columns["image.width"][row]),
            "instances": [
                {"ignore_flag": int(ignore), "bbox": box, "bbox_label": label}
                for box, ignore, label in zip(boxes.tolist(), ignored.tolist(), labels, strict=True)
                if label >= 0
            ],
        }
