"""MMDetection's data sets of COCO's format over an index."""

from __future__ import annotations

import json
import os.path as osp
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmdet.datasets import CityscapesDataset, CocoDataset
from mmdet.datasets.lvis import LVISV05Dataset, LVISV1Dataset
from mmdet.datasets.objects365 import Objects365V1Dataset, Objects365V2Dataset, objv2_ignore_list

from data_server.datasets.annotated import Annotated
from data_server.datasets.indexed import Indexed, any_of, counts_of, elsewhere, over, own_method, places
from data_server.files.index import text_search
from data_server.files.index.cache import Index
from data_server.files.index.coco import Flag

_LVIS_HOST = "http://images.cocodataset.org/"
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")  # as it is written by Python, of 64 bits or little more
_FILTERS = (CocoDataset.filter_data, CityscapesDataset.filter_data)

Categories = list[dict[str, Any]]


@dataclass(frozen=True)
class _Kind:
    """What one of MMDetection's `load_data_list` does in its own way.

    Attributes:
        file_name: of an image of the data set, by its row.
        counted: the ids of the categories that count, by label.
        left_out: names of files that are skipped.
        by_coco: whether the file is read by the class' COCOAPI.
    """

    file_name: Callable[[Any, int], str]
    counted: Callable[[Any, Categories], list[Any]]
    left_out: Sequence[str] = ()
    by_coco: bool = True


def _named(dataset: Any, categories: Categories) -> list[Any]:
    api = dataset.COCOAPI()
    api.dataset = {"categories": categories}
    ids: list[Any] = api.get_cat_ids(cat_names=dataset.metainfo["classes"])
    return ids


def _named_by_id(dataset: Any, categories: Categories) -> list[Any]:
    return _named(dataset, sorted(categories, key=lambda one: one["id"]))


def _all(_dataset: Any, categories: Categories) -> list[Any]:
    return [one["id"] for one in categories]


def _as_it_is(dataset: Any, row: int) -> str:
    return str(dataset.names[row])


def _within_patch(dataset: Any, row: int) -> str:
    folder, name = osp.split(dataset.names[row])
    return osp.join(osp.split(folder)[-1], name)


def _without_coco_2014(dataset: Any, row: int) -> str:
    name = str(dataset.names[row])
    return name[-16:] if name.startswith("COCO") else name


def _of_address(dataset: Any, row: int) -> str:
    url: str = json.loads(dataset.index.record("image", row))["coco_url"]
    return url.replace(_LVIS_HOST, "")


_KINDS = {
    CocoDataset.load_data_list: _Kind(_as_it_is, _named),
    Objects365V1Dataset.load_data_list: _Kind(_as_it_is, _named_by_id),
    Objects365V2Dataset.load_data_list: _Kind(_within_patch, _named, objv2_ignore_list),
    LVISV05Dataset.load_data_list: _Kind(_without_coco_2014, _all, by_coco=False),
    LVISV1Dataset.load_data_list: _Kind(_of_address, _all, by_coco=False),
}


def refusal(dataset: Any) -> str | None:
    """Why a data set of MMDetection's, not yet initialised, cannot be had over an index; None where it can."""
    kind = type(dataset)
    if kind.load_data_list not in _KINDS:
        return f"{kind.__name__} has its own load_data_list"
    if kind.filter_data not in _FILTERS:
        return f"{kind.__name__} has its own filter_data"
    if own := own_method(kind, CocoDataset, ("__init__", "ANN_ID_UNIQUE", "COCOAPI")):
        return own
    return elsewhere(dataset)


def lacks(dataset: Any, index: Index) -> str | None:
    """What the data set needs and the file does not have for every image; None where it has everything."""
    facts, kind = index.columns.facts, _KINDS[type(dataset).load_data_list]
    if kind.file_name is _of_address:
        return None if facts["located"] else "an image has no coco_url"
    return None if facts["named"] else "an image has no file_name"


def reads_by_coco(dataset: Any) -> bool:
    """Whether MMDetection's class, which `refusal` allows, reads its file by its COCOAPI."""
    return _KINDS[type(dataset).load_data_list].by_coco


def put_over(dataset: Any, index: Index) -> None:
    """Makes a data set that is not yet initialised read `index` and not its file; `refusal` and `lacks` allow it."""
    dataset.index, dataset.columns = index, index.columns
    dataset.__class__ = over(IndexedCoco, type(dataset))  # type: ignore[arg-type]


class IndexedCoco(Indexed, CocoDataset):
    """Over `index`, that of its file."""

    index: Index

    @property
    def _kind(self) -> _Kind:
        return _KINDS[self._original.load_data_list]  # type: ignore[attr-defined]

    def _prepare(self) -> None:
        columns = self.columns
        self.names = columns.texts("image.name")
        self._texts = columns.texts("image.id") if "image.id.ends" in columns else None
        categories = columns.facts["categories"]
        self.cat_ids = self._kind.counted(self, categories)
        self.cat2label = {identity: label for label, identity in enumerate(self.cat_ids)}
        # By a category's row; the last is of what is no category of the file, whose row is -1.
        self._labels = np.array([*(self.cat2label.get(one["id"], -1) for one in categories), -1], np.int64)

    def image_path(self, idx: int) -> str:
        return osp.join(self.data_prefix["img"], self._kind.file_name(self, int(self.rows[idx])))

    @property
    def cat_img_map(self) -> dict[Any, list[Any]]:
        """The ids of the images of all annotations of a category, by its id, in the file's order; it takes long."""
        found: dict[Any, list[Any]] = defaultdict(list)
        for row in np.argsort(self.index.columns["annotation.place"], kind="stable").tolist():
            annotation = json.loads(self.index.record("annotation", row))
            found[annotation["category_id"]].append(annotation["image_id"])
        return found

    def identities(self, start: int, stop: int) -> Any:
        rows = self.rows[start:stop]
        if self._texts is not None:
            return [self._texts[row] for row in rows]
        return self.index.columns["image.id"][rows].astype(np.int64)

    def identified(self, text: str) -> np.ndarray:
        if self._texts is not None:
            return text_search.equal(self._texts, text)[self.rows]
        number = int(text) if _INTEGER.fullmatch(text) else None
        found: np.ndarray = self.columns["image.id"][self.rows] == number
        return found

    def named(self, text: str) -> np.ndarray:
        name_of = self._kind.file_name
        if name_of is _of_address:  # which is in the file alone
            return super().named(text)
        found = text_search.in_names(self.names, text)[self.rows]
        if name_of is _without_coco_2014:
            for row in np.flatnonzero(found).tolist():
                found[row] = text in osp.basename(self.image_path(row))
        return found

    def annotated(self, start: int, stop: int) -> Annotated:
        columns, rows = self.columns, self.rows[start:stop]
        first = columns["image.first"]
        place = places(first, rows)
        labels, flags = self._labels[columns["annotation.category"][place]], columns["annotation.flags"][place]
        kept = (labels >= 0) & (flags & Flag.USABLE != 0)
        boxes = columns["annotation.box"][place]
        boxes = np.array(boxes) if kept.all() else boxes[kept]
        boxes[:, 2:] += boxes[:, :2]
        return Annotated(
            identities=self.identities(start, stop),
            sizes=self.sizes(rows),
            counts=counts_of(kept, first[rows + 1] - first[rows]),
            boxes=boxes,
            labels=labels[kept],
            ignored=(flags[kept] & Flag.CROWD).astype(np.int64),
        )

    def _all(self) -> np.ndarray:
        rows = super()._all()
        if self._kind.left_out:
            candidates = _ending(self.names.ends, self.names.bytes, self._kind.left_out)
            skipped = [row for row in candidates if self._kind.file_name(self, row) in self._kind.left_out]
            rows = np.delete(rows, skipped)
        return rows

    def _filtered(self, rows: np.ndarray) -> np.ndarray:
        if self.test_mode or self.filter_cfg is None:
            return rows
        columns = self.index.columns
        width, height = columns["image.width"][rows], columns["image.height"][rows]
        kept = np.minimum(width, height) >= self.filter_cfg.get("min_size", 0)
        if self.filter_cfg.get("filter_empty_gt", False):
            first, flags = columns["image.first"], columns["annotation.flags"]
            counted = (self._labels >= 0)[columns["annotation.category"]]
            if self._original.filter_data is CityscapesDataset.filter_data:  # type: ignore[attr-defined]
                counted &= flags & (Flag.USABLE | Flag.CROWD) == Flag.USABLE
            kept &= any_of(counted, first[:-1])[rows]  # behind its last but one are those of no image
        return rows[kept]

    def _record(self, row: int) -> dict[str, Any]:
        columns = self.index.columns
        name = self._kind.file_name(self, row)
        seg = self.data_prefix.get("seg", None)
        record = {
            "img_path": osp.join(self.data_prefix["img"], name),
            "img_id": int(columns["image.id"][row]) if self._texts is None else self._texts[row],
            "seg_map_path": osp.join(seg, name.rsplit(".", 1)[0] + self.seg_map_suffix) if seg else None,
            "height": int(columns["image.height"][row]),
            "width": int(columns["image.width"][row]),
        }
        if self.return_classes:
            record["text"] = self.metainfo["classes"]
            record["caption_prompt"] = self.caption_prompt
            record["custom_entities"] = True
        record["instances"] = self._instances(row)
        return record

    def _instances(self, row: int) -> list[dict[str, Any]]:
        columns = self.index.columns
        start, stop = columns["image.first"][row : row + 2].tolist()
        labels = self._labels[columns["annotation.category"][start:stop]].tolist()
        whole = columns["annotation.whole"][start:stop].tolist() if "annotation.whole" in columns else [0] * len(labels)
        boxes, flags = columns["annotation.box"][start:stop].tolist(), columns["annotation.flags"][start:stop].tolist()
        instances = []
        for number, (box, bits, flag, label) in enumerate(zip(boxes, whole, flags, labels, strict=True)):
            if label < 0 or not flag & Flag.USABLE:
                continue
            x, y, width, height = (
                (int(edge) if bits >> place & 1 else edge for place, edge in enumerate(box)) if bits else box
            )
            instance = {
                "ignore_flag": int(flag & Flag.CROWD),
                "bbox": [x, y, x + width, y + height],
                "bbox_label": label,
            }
            if flag & Flag.OUTLINED:
                instance["mask"] = json.loads(self.index.record("annotation", start + number))["segmentation"]
            instances.append(instance)
        return instances


def _ending(ends: np.ndarray, characters: np.ndarray, names: Sequence[str]) -> list[int]:
    """Rows of a column of texts that end like one of `names`, and perhaps some others."""
    found: set[int] = set()
    for name in names:
        tail = np.frombuffer(name.encode()[-8:], np.uint8)
        rows = np.flatnonzero(ends >= len(tail))
        for place in range(1, len(tail) + 1):
            rows = rows[characters[ends[rows] - place] == tail[-place]]
        found.update(rows.tolist())
    return sorted(found)
