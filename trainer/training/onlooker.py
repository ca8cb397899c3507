"""The batch that a run has just trained on, drawn for whoever looks at the page of the run.

    page ── WANTED_FILE ──► looked for after a step, every `SECONDS` at most ──► removed, BATCH_FILE ──► page

A run at which nobody looks does no more than look for a file. What is drawn has been trained on and is on the host, or
is copied there: no number of the run depends on it.

    BATCH_FILE   {"step": finished steps, "images": [{"jpeg": base64, "width": pixels, "height": pixels,
                  "boxes": [{"bbox": [x, y, width, height in those pixels], "name": text}]}]}
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from shared.files import replace

WANTED_FILE = ".batch_wanted"
BATCH_FILE = "batch.json"
SECONDS = 2.0
MOST_IMAGES = 8
LONGER_SIDE = 800  # pixels; a larger picture is made smaller
JPEG_QUALITY = 85


class Batch(Protocol):
    """What is needed of a `trainer.batch.Batch`, which the page could not import: it has no Jittor."""

    host: dict[str, np.ndarray]
    step: int
    valid: int

    def pictures(self) -> np.ndarray: ...


class Onlooker:
    """Somebody who may be looking at a run.

    Args:
        classes: the names of each data set's classes by label; empty for a detector that tells no classes apart.
        say: called with a line when a batch cannot be shown.
    """

    def __init__(self, work_dir: Path, classes: Sequence[Sequence[str]], say: Callable[[str], None]) -> None:
        self._wanted, self._file = work_dir / WANTED_FILE, work_dir / BATCH_FILE
        self._classes, self._say = classes, say
        self._next_look = 0.0

    def show(self, batch: Batch) -> None:
        """Draws a batch that has been trained on, where that is wanted."""
        if (now := time.monotonic()) < self._next_look:
            return
        self._next_look = now + SECONDS
        try:
            if not self._wanted.exists():
                return
            self._wanted.unlink()
            replace(self._file, json.dumps(self._drawn(batch)).encode())
        except OSError as error:
            self._say(f"cannot write {self._file}: {error.strerror}; the run continues, free some space")

    def _drawn(self, batch: Batch) -> dict[str, Any]:
        pictures = batch.pictures()
        rows = range(min(batch.valid, MOST_IMAGES))
        return {"step": batch.step + 1, "images": [self._image(pictures[row], batch.host, row) for row in rows]}

    def _image(self, picture: np.ndarray, host: dict[str, np.ndarray], row: int) -> dict[str, Any]:
        height, width = host["image_shapes"][row].tolist()
        count = host["box_counts"][row]
        names = self._classes[host["dataset_ids"][row]] if self._classes else [""]
        image = Image.fromarray(np.ascontiguousarray(picture[:height, :width, ::-1]))
        image.thumbnail((LONGER_SIDE, LONGER_SIDE))
        content = io.BytesIO()
        image.save(content, format="JPEG", quality=JPEG_QUALITY)
        boxes = [
            {"bbox": [x1, y1, x2 - x1, y2 - y1], "name": names[label]}
            for (x1, y1, x2, y2), label in zip(
                host["boxes"][row, :count].tolist(), host["labels"][row, :count].tolist(), strict=True
            )
        ]
        return {
            "jpeg": base64.b64encode(content.getvalue()).decode(),
            "width": width,
            "height": height,
            "boxes": boxes,
        }
