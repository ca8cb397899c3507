"""What an evaluation found in which image, from what it left and from the data set's annotation file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared import coco, source
from shared.config_keys import class_name
from shared.datasets import named_classes
from shared.errors import UserError
from shared.image_ids import stream_ids
from trainer.evaluation import predictions
from trainer.feed.loader import BadImage, Loader
from trainer.recipe.steps import Step
from trainer.reporting.matches import Result


@dataclass(frozen=True)
class Judged:
    """An evaluation's images.

    Attributes:
        results: of each image.
        names: of the labels.
        load: image `index` of `results` as u8 (H,W,3), RGB. Raises UserError when it cannot be read.
    """

    results: list[Result]
    names: list[str]
    load: Callable[[int], np.ndarray]


def judged_by(step: Step, folder: Path) -> Judged | None:
    """The images of an evaluation; None where the annotations are not in COCO's format, MMEngine alone can read them
    or the images, or no predictions were kept.

    Args:
        step: an evaluation.
        folder: its work dir.
    """
    split = "val" if step.config.get("val_evaluator") else "test"
    dataset = step.config[f"{split}_dataloader"].dataset
    root = dataset.get("data_root") or step.config.get("data_root") or ""
    pipeline = dataset.get("pipeline") or []
    if any(source.has_backend(one.get("backend_args")) for one in (dataset, *pipeline)):
        return None
    annotated = _annotations(source.joined(root, dataset.get("ann_file", "")))
    found = predictions.file_of(folder, split)
    if annotated is None or not found.is_file():
        return None
    categories = {one["id"]: one["name"] for one in annotated["categories"]}
    counted = coco.counted(categories, named_classes(dataset), str(dataset.get("type")))
    images = source.joined(root, (dataset.get("data_prefix") or {}).get("img", ""))
    files = {image["id"]: source.joined(images, image["file_name"]) for image in annotated["images"]}
    judged = list(files)
    if (indices := dataset.get("indices")) is not None:
        judged = judged[:indices] if isinstance(indices, int) else [judged[index] for index in indices]
    own_id = dict(zip(stream_ids(judged).tolist(), judged, strict=True))
    load = _loader(pipeline)
    labels = {identity: label for label, identity in enumerate(counted)}
    truths, crowds = (_boxes(annotated, labels, crowds) for crowds in (False, True))
    results, paths = [], []
    with np.load(found) as arrays:
        ends = np.cumsum(arrays["counts"])
        for image_id, end, count in zip(arrays["image_ids"].tolist(), ends, arrays["counts"], strict=True):
            identity, own = own_id[image_id], slice(end - count, end)
            detected = arrays["boxes"][own], arrays["scores"][own], arrays["labels"][own]
            there = *truths.get(identity, _NOTHING), *crowds.get(identity, _NOTHING)
            results.append(Result(os.path.basename(files[identity]), *detected, *there))
            paths.append(files[identity])
    return Judged(results, list(counted.values()), lambda index: _image(paths[index], load))


_NOTHING = np.zeros((0, 4)), np.zeros(0, int)


def _annotations(path: str) -> dict[str, Any] | None:
    try:
        return coco.read(
            path,
            images=("id", "file_name"),
            annotations=("image_id", "category_id", "bbox"),
            categories=("id", "name"),
        )
    except UserError:
        return None


def _boxes(annotated: dict[str, Any], labels: dict[Any, int], crowds: bool) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
    """Boxes (n,4) and labels (n,) of each image that has any, of crowds or of all others; `labels` are those of the
    categories."""
    rows: dict[Any, list[tuple]] = {}
    for one in annotated["annotations"]:
        if one["category_id"] in labels and bool(one.get("iscrowd")) == crowds:
            x, y, width, height = one["bbox"]
            rows.setdefault(one["image_id"], []).append((x, y, x + width, y + height, labels[one["category_id"]]))
    tables = {image: np.array(values, float) for image, values in rows.items()}
    return {image: (table[:, :4], table[:, 4].astype(int)) for image, table in tables.items()}


def _loader(steps: list[dict[str, Any]]) -> Loader:
    """How the evaluation's pipeline has read its images: boxes are in the pixels of these pictures."""
    return next((Loader.of(step) for step in steps if class_name(step.get("type")) == "LoadImageFromFile"), Loader())


def _image(path: str, load: Loader) -> np.ndarray:
    """u8 (H,W,3), RGB."""
    try:
        return load(path)[:, :, ::-1]
    except BadImage as error:
        raise UserError(f"{error}; the report shows it") from None
