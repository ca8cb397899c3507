"""A small COCO-format data set, drawn in a moment: photographs of nothing with boxes around coloured rectangles.

number   0 .. 5    wide, one to three boxes each
         6 .. 9    high, the same
        10         wide, one box and one crowd
        11         wide, no box
"""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config

from shared.data_part import data_part

IMAGES = 12
WIDE, HIGH = (60, 90), (80, 50)
CROWD, EMPTY = 10, 11
CLASSES = ["cup", "lamp", "shoe"]
TRAIN_PIPELINE = (
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "Resize", "scale": (128, 96), "keep_ratio": True},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "PackDetInputs"},
)
VAL_PIPELINE = (
    {"type": "LoadImageFromFile"},
    {"type": "Resize", "scale": (128, 96), "keep_ratio": True},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "PackDetInputs"},
)


def draw(folder: Path) -> Path:
    """Writes ``folder/images/*.jpg`` and ``folder/all.json``; returns `folder`."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(3)
    images, annotations = [], []
    for number in range(IMAGES):
        height, width = HIGH if 6 <= number <= 9 else WIDE
        picture = random.integers(0, 255, (height // 10, width // 10, 3), np.uint8)
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        images.append({"id": 100 + number, "file_name": f"{number:02}.jpg", "width": width, "height": height})
        for box in range(0 if number == EMPTY else 2 if number == CROWD else 1 + number % 3):
            x, y, w, h = (int(n) for n in (*random.integers(0, 20, 2), *random.integers(12, 30, 2)))
            cv2.rectangle(picture, (x, y), (x + w, y + h), random.integers(0, 255, 3).tolist(), -1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 + number,
                    "category_id": 1 + len(annotations) % len(CLASSES),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(number == CROWD and box == 1),
                }
            )
        cv2.imwrite(str(folder / "images" / f"{number:02}.jpg"), picture)
    categories = [{"id": 1 + number, "name": name} for number, name in enumerate(CLASSES)]
    write_annotations(folder, {"images": images, "annotations": annotations, "categories": categories})
    return folder


def annotations_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "all.json").read_text())


def write_annotations(folder: Path, content: dict[str, Any]) -> None:
    (folder / "all.json").write_text(json.dumps(content, indent=1))


def config_of(
    folder: Path,
    split: str = "train",
    *,
    batch_size: int = 2,
    feed: dict[str, Any] | None = None,
    pipeline: tuple[dict, ...] | None = None,
    custom_imports: dict[str, Any] | None = None,
    **dataset: Any,
) -> dict[str, Any]:
    """The data part of a trainer's config for the data set in `folder`; `dataset` overrides keys of the data set.

    A stream of it ends with its client, unless `feed` says otherwise, so that no test meets another's processes.
    """
    train = split == "train"
    settings = {
        "type": "CocoDataset",
        "data_root": str(folder),
        "ann_file": "all.json",
        "data_prefix": {"img": "images/"},
        "metainfo": {"classes": tuple(CLASSES)},
        "pipeline": list(pipeline or (TRAIN_PIPELINE if train else VAL_PIPELINE)),
        **({"filter_cfg": {"filter_empty_gt": True, "min_size": 1}} if train else {}),
        **dataset,
    }
    sampler = {"type": "DefaultSampler", "shuffle": train}
    batch_sampler = {"type": "AspectRatioBatchSampler"} if train else None
    dataloader = {"batch_size": batch_size, "sampler": sampler, "batch_sampler": batch_sampler, "dataset": settings}
    model = {"data_preprocessor": {"pad_size_divisor": 32}}
    feed = {"linger_seconds": 0, **(feed or {})}
    config = {f"{split}_dataloader": dataloader, "model": model, "feed": feed, "custom_imports": custom_imports}
    return data_part(Config(config), split)


def write_open_images(photos: Path, folder: Path) -> dict[str, Any]:
    """The same boxes in OpenImages' files; the three classes are children of "thing". Returns the data set's config."""
    content = annotations_of(photos)
    names = ["thing", *CLASSES]
    labels = [[f"/m/{name}", name] for name in names]
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(labels)
    children = [{"LabelName": f"/m/{name}"} for name in CLASSES]
    hierarchy = {"LabelName": "/m/0bl9f", "Subcategory": [{"LabelName": "/m/thing", "Subcategory": children}]}
    (folder / "hierarchy.json").write_text(json.dumps(hierarchy))
    metas, rows = [], []
    for image in content["images"]:
        boxes = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        if not boxes:
            continue
        name, (width, height) = image["file_name"].removesuffix(".jpg"), (image["width"], image["height"])
        metas.append({"filename": f"images/{name}.jpg", "ori_shape": (height, width, 3)})
        for one in boxes:
            x, y, w, h = one["bbox"]
            place = [x / width, (x + w) / width, y / height, (y + h) / height]
            label = f"/m/{CLASSES[one['category_id'] - 1]}"
            rows.append([name, "x", label, 1, *place, 0, 0, 0, 0, 0])
    (folder / "metas.pkl").write_bytes(pickle.dumps(metas))
    with (folder / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["header"], *rows])
    return {
        "type": "OpenImagesDataset",
        "ann_file": str(folder / "boxes.csv"),
        "label_file": str(folder / "labels.csv"),
        "hierarchy_file": str(folder / "hierarchy.json"),
        "meta_file": str(folder / "metas.pkl"),
        "metainfo": None,
    }
