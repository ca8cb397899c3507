"""The payload of a slot: how samples become the arrays that `shared.batch` describes.

    samples ──► layout ──► images, a band of rows at a time, each hashed while it is in the cache ──► all other arrays

Every byte is written, since the slot holds an older batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from shared.batch import BOX_MULTIPLE, layout_of, padded
from shared.checksum import BAND_BYTES, Checksum
from shared.layout import Layout

if TYPE_CHECKING:  # brings torch along, which is not needed here
    from data_server.datasets.samples import Sample


def lay_out(samples: list[Sample], config: dict[str, Any], proposals: int) -> Layout:
    """The arrays of a batch: H and W are the largest of its images, padded to a multiple of ``size_divisor``; G boxes,
    a multiple of 8; room for as many `proposals` as the stream's images have at most."""
    return layout_of(
        len(samples),
        padded(max(sample.image.shape[0] for sample in samples), config["size_divisor"]),
        padded(max(sample.image.shape[1] for sample in samples), config["size_divisor"]),
        padded(max(1, *(len(sample.boxes) for sample in samples)), BOX_MULTIPLE),
        proposals,
        config["feed"]["image_dtype"],
    )


def write(samples: list[Sample], arrays: dict[str, np.ndarray], checksum: Checksum) -> None:
    """Fills a batch's arrays, the images first, as they come first in the payload that `checksum` is of.

    ``box_counts`` counts the boxes to train on; crowds follow them and are marked in ``ignored``.
    """
    write_images([sample.image for sample in samples], arrays["images"], checksum)
    for name in ("boxes", "labels", "ignored"):
        arrays[name][:] = 0
    for row, sample in enumerate(samples):
        count = len(sample.boxes)
        arrays["image_shapes"][row] = sample.image.shape[:2]
        arrays["original_shapes"][row] = sample.original_shape
        arrays["scale_factors"][row] = sample.scale_factor
        arrays["flipped"][row] = sample.flipped
        arrays["image_ids"][row] = sample.image_id
        arrays["dataset_ids"][row] = sample.dataset_id
        arrays["boxes"][row, :count] = sample.boxes
        arrays["box_counts"][row] = count - int(sample.ignored.sum())
        arrays["labels"][row, :count] = sample.labels
        arrays["ignored"][row, :count] = sample.ignored
        if sample.proposals is not None:
            proposals = len(sample.proposals)
            arrays["proposals"][row, :proposals] = sample.proposals
            arrays["proposals"][row, proposals:] = 0
            arrays["proposal_counts"][row] = proposals


def write_images(images: list[np.ndarray], places: np.ndarray, checksum: Checksum) -> None:
    """Copies images (h, w, 3) into `places` (B, H, W, 3) of their dtype, zeros around, a band of rows at a time."""
    _, height, width, channels = places.shape
    rows = max(1, BAND_BYTES // (width * channels * places.itemsize))
    written = 0
    for image, place in zip(images, places, strict=True):
        wide = image.shape[1]
        for top in range(0, height, rows):
            band = place[top : top + rows]
            content = image[top : top + rows]
            if len(content):
                _copy_image(content, band[: len(content), :wide])
                band[: len(content), wide:] = 0
            band[len(content) :] = 0
            written += band.nbytes
            checksum.passed(written)


def _copy_image(image: np.ndarray, place: np.ndarray) -> None:
    """Copies (h, w, 3). A horizontal flip is a view with a negative stride: numpy copies that pixel by pixel."""
    if image.strides[1] < 0:
        cv2.flip(np.ascontiguousarray(image[:, ::-1]), 1, dst=place)
    else:
        place[:] = image
