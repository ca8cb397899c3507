"""What both sides of a benchmark read: one MMDetection dataloader config, and photographs where the user has none.

The config is MMDetection's own for COCO: 1333x800 keeping the aspect ratio, a flip, `PackDetInputs`; wide and high
images in batches of their own.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image

SIZES = ((640, 480), (640, 427), (480, 640), (640, 360))  # (width, height), the usual ones in COCO
# As COCO's own files are written: their quantization tables, no subsampling of colour.
JPEG = (
    cv2.IMWRITE_JPEG_QUALITY,
    96,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)
BOXES = 7  # of an image, COCO's average
ANNOTATIONS = "annotations.json"
IMAGES = "images/"
_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png", "rocket.jpg")


def standard_config(
    data_root: str,
    ann_file: str,
    image_folder: str,
    batch_size: int,
    scale: tuple[int, int] = (1333, 800),
    checksum: bool = True,
) -> Config:
    """A config with a ``train_dataloader`` over a COCO-format folder; every category of `ann_file` is a class. `scale`
    is the (long, short) edge in pixels that images are resized to at most."""
    categories = json.loads(Path(data_root, ann_file).read_text())["categories"]
    pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True},
        {"type": "Resize", "scale": scale, "keep_ratio": True},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PackDetInputs"},
    ]
    dataset = {
        "type": "CocoDataset",
        "data_root": data_root,
        "ann_file": ann_file,
        "data_prefix": {"img": image_folder},
        "metainfo": {"classes": tuple(category["name"] for category in categories)},
        "filter_cfg": {"filter_empty_gt": True, "min_size": 32},
        "pipeline": pipeline,
    }
    train_dataloader = {
        "batch_size": batch_size,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "batch_sampler": {"type": "AspectRatioBatchSampler"},
        "dataset": dataset,
    }
    return Config(
        {
            "train_dataloader": train_dataloader,
            "model": {"data_preprocessor": {"pad_size_divisor": 32}},
            "feed": {"checksum": checksum},
        }
    )


def make_photographs(root: Path, count: int = 48) -> None:
    """`count` JPEG files of COCO's sizes, cut from scikit-image's photographs, with boxes at random places."""
    random = np.random.default_rng(0)
    photographs = [_read(name) for name in _PHOTOGRAPHS]
    (root / IMAGES).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        name = f"{number:04d}.jpg"
        picture = _cut(random, photographs[number % len(photographs)], width, height)
        cv2.imwrite(str(root / IMAGES / name), picture, JPEG)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for _ in range(BOXES):
            x, y = random.integers(0, width // 2), random.integers(0, height // 2)
            w, h = random.integers(16, width // 2), random.integers(16, height // 2)
            box = {"bbox": [int(value) for value in (x, y, w, h)], "area": int(w * h), "iscrowd": 0}
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 1, **box})
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (root / ANNOTATIONS).write_text(json.dumps(coco))


def _read(name: str) -> np.ndarray:
    """A photograph of scikit-image's, (H, W, 3) uint8 BGR."""
    with Image.open(str(files("skimage") / "data" / name)) as image:
        return np.asarray(image.convert("RGB"))[..., ::-1]


def _cut(random: np.random.Generator, photograph: np.ndarray, width: int, height: int) -> np.ndarray:
    """A random cut of the photograph with the wanted aspect ratio, enlarged to (height, width, 3) uint8."""
    fit = min(photograph.shape[1] / width, photograph.shape[0] / height) * random.uniform(0.8, 1.0)
    cut_width, cut_height = int(width * fit), int(height * fit)
    x = random.integers(photograph.shape[1] - cut_width + 1)
    y = random.integers(photograph.shape[0] - cut_height + 1)
    return cv2.resize(photograph[y : y + cut_height, x : x + cut_width], (width, height), interpolation=cv2.INTER_CUBIC)
