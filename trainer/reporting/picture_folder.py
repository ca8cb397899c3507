"""The drawn images of a task, in a folder: what ``--draw`` leaves, ``drawn/<name of the image>.jpg``.

A picture shows the best `MOST` detections that score at least `FROM`, or what the user says instead, and of nearly
equal boxes only the best.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from shared.errors import UserError
from shared.files import save
from trainer.reporting import drawing

FOLDER = "drawn"
FROM = 0.3
MOST = 50
JPEG_QUALITY = 92


class Found(Protocol):
    """What was found in one image: `boxes` (m,4) in pixels of the original image, `scores` (m,), `labels` (m,)."""

    @property
    def boxes(self) -> np.ndarray: ...

    @property
    def scores(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...


class Pictures:
    """A folder of pictures.

    Args:
        folder: made if need be; pictures of an earlier run are overwritten.
        threshold: the least score of what is drawn; None: `FROM`.

    Raises:
        UserError: here and in `add`, when the folder or a file cannot be written.
    """

    def __init__(self, folder: Path, threshold: float | None) -> None:
        self.folder = folder
        self._threshold = FROM if threshold is None else threshold
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error

    def add(
        self,
        name: str,
        image: np.ndarray,
        boxes: np.ndarray,
        names: Sequence[str],
        scores: np.ndarray,
        truths: np.ndarray | None = None,
        truth_names: Sequence[str] = (),
    ) -> None:
        """Draws one image.

        Args:
            name: the file's; a number is added where it was used already.
            image: u8 (H,W,3), BGR.
            boxes, names, scores: see `drawing.draw`.
            truths, truth_names: see `drawing.draw`.
        """
        shown = drawing.distinct(boxes, scores, self._threshold, MOST)
        rgb = np.ascontiguousarray(image[..., ::-1])
        found = [names[index] for index in shown]
        picture = drawing.draw(rgb, boxes[shown], found, scores[shown], truths, truth_names)
        target = self.folder / f"{self._free(name)}.jpg"
        content = io.BytesIO()
        # Not subsampled, for the sake of thin coloured lines.
        Image.fromarray(picture).save(content, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        save(target, content.getvalue())

    def add_batch(
        self, images: np.ndarray, host: dict[str, np.ndarray], detections: Sequence[Found], classes: Sequence[str]
    ) -> None:
        """Draws the first images of a batch, one for each of `detections`, with their ground truth.

        Args:
            images: u8 (B,H,W,3), BGR.
            host: the batch's small arrays, see `trainer.batch.Batch`.
            classes: names of the labels; empty where boxes have none (class-agnostic).
        """
        for row, found in enumerate(detections):
            height, width = host["image_shapes"][row]
            count = host["box_counts"][row]
            self.add(
                str(host["image_ids"][row]),
                images[row, :height, :width],
                found.boxes * host["scale_factors"][row],
                [classes[label] for label in found.labels] if classes else [""] * len(found.labels),
                found.scores,
                host["boxes"][row, :count],
                [classes[label] for label in host["labels"][row, :count]] if classes else (),
            )

    def _free(self, name: str) -> str:
        free, number = name, 1
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free)
        return free
