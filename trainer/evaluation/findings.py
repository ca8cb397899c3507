"""Detections as a file: an annotation file in COCO's format, with scores.

Anything that reads COCO can read it; its list ``annotations`` alone is what COCO's ``loadRes`` takes::

    categories    {"id": 1, "name": "red star"}, one for each name of the vocabulary
    images        {"id": 1, "file_name": F, "width": w, "height": h}, one for each image, in the order of their paths
    annotations   {"id", "image_id", "category_id", "name", "bbox": [x, y, w, h], "area", "iscrowd": 0, "score"}
    skipped       {"file_name": F, "reason": text}, one for each image that could not be read
    info          the config, the checkpoint
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from trainer.api import Found


def above(found: Found, threshold: float) -> Found:
    """The detections that score at least `threshold`."""
    count = int((found.scores >= threshold).sum())  # they are by descending score
    return found._replace(boxes=found.boxes[:count], scores=found.scores[:count], names=found.names[:count])


class Findings:
    """What becomes the JSON file.

    Args:
        names: the vocabulary.
        info: what the file says about where it is from.
    """

    def __init__(self, names: list[str], info: dict[str, Any]) -> None:
        self.info = info
        self.categories = [{"id": row, "name": name} for row, name in enumerate(names, 1)]
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self._ids = {category["name"]: category["id"] for category in self.categories}

    def add(self, path: str | os.PathLike[str], image: np.ndarray, found: Found) -> None:
        """What was `found` in the `image` u8 (H,W,3) of the file `path`."""
        height, width = image.shape[:2]
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": str(path), "width": width, "height": height})
        for (x1, y1, x2, y2), score, name in zip(found.boxes.tolist(), found.scores.tolist(), found.names, strict=True):
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category_id": self._ids[name],
                    "name": str(name),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "score": score,
                }
            )

    def skip(self, path: str | os.PathLike[str], reason: str) -> None:
        """The file `path` could not be read."""
        self.skipped.append({"file_name": str(path), "reason": reason})

    def dumps(self) -> bytes:
        """The file's content."""
        content = {
            "info": self.info,
            "categories": self.categories,
            "images": self.images,
            "annotations": self.annotations,
            "skipped": self.skipped,
        }
        return json.dumps(content).encode()
