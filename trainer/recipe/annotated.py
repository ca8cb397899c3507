"""A data set of an evaluation as its annotation file has it, in COCO's format, and as the evaluation's metric counts.

LVIS's metric knows of each image which classes were looked for. Detections of others are left out; of a class that is
not annotated exhaustively, one that takes no object is neither right nor wrong, as if all of the image were a crowd.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared import coco, source
from shared.config_keys import class_name
from shared.datasets import named_classes
from shared.errors import UserError
from trainer.feed.loader import Loader
from trainer.reporting.matches import Result

LVIS = "LVISMetric"
_LVIS_MOST = 300  # detections that count in an image
_COCO_MOST = (100, 300, 1000)  # CocoMetric's proposal_nums: the largest is how many of a class count in an image
_EVERYWHERE = (-1e9, -1e9, 1e9, 1e9)
_NOTHING = np.zeros((0, 6))


@dataclass(frozen=True, eq=False)
class Annotated:
    """A data set.

    Attributes:
        files: the paths of the images that were evaluated, by their ids, in the data set's order.
        names: of the labels.
        load: how the evaluation's pipeline has read images: boxes are in the pixels of these pictures.
        truths, crowds: of an image x1,y1,x2,y2, label and area (n,6).
        looked_for: of an image the labels that count there; of no image where all do.
        metric: the evaluation's.
    """

    files: dict[Any, str]
    names: list[str]
    load: Loader
    truths: Mapping[Any, np.ndarray]
    crowds: Mapping[Any, np.ndarray]
    looked_for: Mapping[Any, list[int]]
    metric: Mapping[str, Any]

    def result(self, identity: Any, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, first: int) -> Result:
        """What was found in an image, with what is there, in labels that begin with `first`."""
        counts = self._counted(identity, scores, labels)
        truths, crowds = self.truths.get(identity, _NOTHING), self.crowds.get(identity, _NOTHING)
        return Result(
            os.path.basename(self.files[identity]),
            *(boxes[counts], scores[counts], labels[counts] + first),
            *(truths[:, :4], truths[:, 4].astype(int) + first),
            *(crowds[:, :4], crowds[:, 4].astype(int) + first),
            truths[:, 5],
        )

    def _counted(self, identity: Any, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Which detections of an image the metric counts, in their order."""
        order = np.argsort(-scores, kind="stable")
        if class_name(self.metric["type"]) == LVIS:
            best = order[:_LVIS_MOST]
            return np.sort(best[np.isin(labels[best], self.looked_for[identity])])
        order = order[np.argsort(labels[order], kind="stable")]
        rank = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
        return np.sort(order[rank < max(self.metric.get("proposal_nums") or _COCO_MOST)])


def read(dataset: Mapping[str, Any], root: str, metric: Mapping[str, Any]) -> Annotated | None:
    """A data set; None where its annotations are not in COCO's format, or MMEngine alone can read them or the images.

    Args:
        dataset: its config.
        root: where its paths start if it does not say so itself.
        metric: the config of the evaluation's.
    """
    root = dataset.get("data_root") or root
    pipeline = dataset.get("pipeline") or []
    if any(source.has_backend(one.get("backend_args")) for one in (dataset, *pipeline)):
        return None
    content = _content(source.joined(root, dataset.get("ann_file", "")))
    if content is None:
        return None
    kind, by_id = str(dataset.get("type")), {image["id"]: image for image in content["images"]}
    categories = {one["id"]: one["name"] for one in content["categories"]}
    agnostic = bool(dataset.get("class_agnostic"))
    counted = coco.counted(categories, None if agnostic or "LVIS" in kind else named_classes(dataset), kind)
    labels = {identity: 0 if agnostic else label for label, identity in enumerate(counted)}
    judged = list(by_id)
    if (indices := dataset.get("indices")) is not None:
        judged = judged[:indices] if isinstance(indices, int) else [judged[index] for index in indices]
    folder = source.joined(root, (dataset.get("data_prefix") or {}).get("img", ""))
    truths, crowds = (_boxes(content, labels, crowds) for crowds in (False, True))
    looked_for = {}
    if class_name(metric["type"]) == LVIS:
        for identity in judged:
            own = truths.get(identity, _NOTHING)[:, 4].astype(int).tolist()
            absent, partly = (
                [labels[one] for one in by_id[identity].get(key) or () if one in labels]
                for key in ("neg_category_ids", "not_exhaustive_category_ids")
            )
            looked_for[identity] = [*own, *absent]
            crowds[identity] = np.array([(*_EVERYWHERE, label, 0) for label in partly], float).reshape(-1, 6)
    return Annotated(
        {one: source.joined(folder, coco.file_name(by_id[one], kind)) for one in judged},
        ["object"] if agnostic else list(counted.values()),
        next((Loader.of(step) for step in pipeline if class_name(step.get("type")) == "LoadImageFromFile"), Loader()),
        *(truths, crowds, looked_for, metric),
    )


def _content(path: str) -> dict[str, Any] | None:
    try:
        return coco.read(
            path, images=("id",), annotations=("image_id", "category_id", "bbox"), categories=("id", "name")
        )
    except UserError:
        return None


def _boxes(content: dict[str, Any], labels: dict[Any, int], crowds: bool) -> dict[Any, np.ndarray]:
    """Of each image that has any, of crowds or of all others (n,6); `labels` are those of the categories."""
    rows: dict[Any, list[tuple]] = {}
    for one in content["annotations"]:
        if one["category_id"] in labels and bool(one.get("iscrowd")) == crowds:
            x, y, width, height = one["bbox"]
            area = one.get("area", width * height)
            rows.setdefault(one["image_id"], []).append((x, y, x + width, y + height, labels[one["category_id"]], area))
    return {image: np.array(values, float) for image, values in rows.items()}
