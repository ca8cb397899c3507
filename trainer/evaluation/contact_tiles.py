"""The first images of an evaluation as tiles of a contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainer.batch import Batch
from trainer.models import Detections
from trainer.reporting import contact_sheet


class Tile(NamedTuple):
    """One image with what is there and what was found; boxes are x1,y1,x2,y2 in its pixels.

    Attributes:
        image: u8 (H,W,3), RGB.
        truths: f32 (n,4).
        found: by descending score.
        title: above the picture.
    """

    image: np.ndarray
    truths: np.ndarray
    found: Detections
    title: str


def of_batch(batch: Batch, detections: list[Detections]) -> list[Tile]:
    """A tile for each image that has `detections`, whose boxes are in pixels of the original images."""
    images = batch.pictures()
    tiles = []
    for row, found in enumerate(detections):
        height, width = batch.host["image_shapes"][row]
        scaled = Detections(found.boxes * batch.host["scale_factors"][row], found.scores, found.labels)
        truths = batch.host["boxes"][row, : batch.host["box_counts"][row]]
        tiles.append(Tile(images[row, :height, :width, ::-1], truths, scaled, f"image {batch.host['image_ids'][row]}"))
    return tiles


def draw(path: Path, tiles: list[Tile]) -> bytes:
    """Writes the contact sheet; returns what was written."""
    images, truths, found, titles = zip(*tiles, strict=True)
    return contact_sheet.draw(path, images, truths, [(one.boxes, one.scores) for one in found], titles)
