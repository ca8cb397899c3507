"""Predictions side by side with an annotation file, for looking at them: the metrics are the data server's.

predictions_<split>.npz ─┐
annotations.json ────────┴──► highlights.Result of every image, and where its file is
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from shared.errors import UserError, described
from trainer.highlights import Result


def results_of(
    predictions: Mapping[str, np.ndarray], annotations: Path, images: Path, classes: Sequence[str]
) -> tuple[list[Result], list[Path]]:
    """One Result for each predicted image, and its file.

    Args:
        predictions: the arrays of `shared.messages.Predictions`, of all batches end to end.
        annotations: the COCO file that they were judged by.
        images: the folder that its ``file_name`` entries are relative to.
        classes: the vocabulary, names in the order of the labels; annotations of other names are left out. Empty for
            class-agnostic predictions: all annotations count, as label 0.

    Raises:
        UserError: the file cannot be read as COCO's format, or misses an image that was predicted.
    """
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        files = {image["id"]: image["file_name"] for image in content["images"]}
        names = {category["id"]: category["name"] for category in content["categories"]}
        truths: dict[int, list[tuple[int, list[float]]]] = {}
        for one in content["annotations"]:
            name = names[one["category_id"]]
            if not one.get("iscrowd") and (not classes or name in classes):
                label = classes.index(name) if classes else 0
                truths.setdefault(one["image_id"], []).append((label, one["bbox"]))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"annotation file {annotations}: cannot be read as COCO's format: {described(error)}") from None
    ends = np.cumsum(predictions["counts"])
    found: list[Result] = []
    paths: list[Path] = []
    for image_id, count, end in zip(predictions["image_ids"].tolist(), predictions["counts"], ends, strict=True):
        if image_id not in files:
            raise UserError(f"annotation file {annotations}: no image {image_id}, for which there are predictions")
        own = truths.get(image_id, [])
        boxes = np.array([box for _, box in own], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        rows = slice(int(end - count), int(end))
        labels = np.array([label for label, _ in own], int)
        arrays = (predictions[key][rows] for key in ("boxes", "scores", "labels"))
        found.append(Result(Path(files[image_id]).stem, *arrays, boxes, labels))
        paths.append(images / files[image_id])
    return found, paths
