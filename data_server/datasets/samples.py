"""One sample: an MMDetection pipeline's result, checked, seeded by itself and ready to be written into a slot.

The pipeline runs unmodified up to its final PackDetInputs. What that would do (transposing the image, wrapping boxes
into tensors) is left out: rows go into the slot as they are, and the device transposes for free. Masks and semantic
maps are there for the pipeline's transforms, and left out of the sample.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_server.datasets import pictures, proposals
from data_server.datasets.part import Part
from data_server.datasets.parts import Datasets
from data_server.datasets.randomness import seed_everything
from shared.regular import unfit

_FLIPS = {None: 0, "horizontal": 1, "vertical": 2, "diagonal": 3}


class BadSample(Exception):
    """An image that cannot be used; the text names its file and says what is wrong with it."""


@dataclass(frozen=True)
class Sample:
    """One image with its boxes.

    image u8 or f32 (h,w,3) BGR; boxes f32 (n,4) x1,y1,x2,y2 in pixels of `image`, crowds last; labels i32 (n,);
    ignored u8 (n,) 1 for crowds; proposals f32 (p,5) x1,y1,x2,y2,score in pixels of `image`, None where none are
    asked for.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    image_id: int
    dataset_id: int
    original_shape: tuple[int, int]
    scale_factor: tuple[float, float, float, float]
    flipped: int
    proposals: np.ndarray | None = None


def load(
    datasets: Datasets,
    index: int,
    seed: int,
    begins: Callable[[str], None] | None = None,
    image_dtype: str = "uint8",
) -> Sample:
    """Runs the pipeline of image `index` with the random generators at `seed`.

    The sample, and whatever is wrong with it, is that of another image where a transform rejects this one.

    Args:
        begins: called with the path of every image before it is read.
        image_dtype: ``feed.image_dtype``.

    Raises:
        BadSample: the image is missing, truncated, no image, or the pipeline fails on it.
        UserError: the pipeline yields no picture of colours.
    """
    part, place = datasets.locate(index)
    path = part.image_path(place)
    if fault := unfit(path):
        raise BadSample(f"image {path!r}: {fault}")
    seed_everything(seed, part.transforms)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = part.results(place, begins)
    except Exception as error:
        path = part.begun[-1] if part.begun else path
        raise BadSample(f"image {path!r}: {pictures.reason(path, error)}") from None
    for used in part.begun if part.blends else [results.get("img_path")]:
        if fault := pictures.fault(used):
            raise BadSample(f"image {used!r}: {fault}")
    return _sample(results, part, datasets.image_id(part, part.in_hand), image_dtype)


def _sample(results: dict[str, Any], part: Part, image_id: int, image_dtype: str) -> Sample:
    image = pictures.as_carried(results["img"], results, part, part.in_hand, image_dtype)
    boxes = results.get("gt_bboxes")
    boxes = np.zeros((0, 4), np.float32) if boxes is None else np.asarray(getattr(boxes, "tensor", boxes), np.float32)
    count = len(boxes)
    labels = np.asarray(results.get("gt_bboxes_labels", np.zeros(count)), np.int32)
    ignored = np.asarray(results.get("gt_ignore_flags", np.zeros(count)), np.uint8)
    order = np.argsort(ignored, kind="stable")
    scale_factor = np.tile(np.asarray(results.get("scale_factor", (1.0, 1.0)), np.float32), 2)[:4]
    if part.boxes_are_unscaled:
        boxes = boxes * scale_factor
    return Sample(
        image=image,
        boxes=boxes[order],
        labels=np.zeros(count, np.int32) if part.class_agnostic else labels[order],
        ignored=ignored[order],
        image_id=image_id,
        dataset_id=part.dataset_id,
        original_shape=tuple(results.get("ori_shape", image.shape)[:2]),
        scale_factor=tuple(scale_factor),
        flipped=_FLIPS[results.get("flip_direction") if results.get("flip") else None],
        proposals=None
        if part.proposals is None
        else proposals.moved(part.proposals.of(part.in_hand), results.get("homography_matrix"), *image.shape[:2]),
    )
