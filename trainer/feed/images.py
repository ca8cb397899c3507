"""Images from files, resized as MMDetection's test pipeline does it, without MMDetection.

    file ── cv2, EXIF orientation ──► u8 (H,W,3) BGR ── Resize of the config's pipeline ──► u8 (h,w,3) BGR

The pixels are those that the data server puts into a slot. What a pipeline may consist of here is what MMDetection's
own configs have for testing: LoadImageFromFile, LoadProposals, Resize, LoadAnnotations, PackDetInputs.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image

from shared.errors import UserError, described

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
SPLITS = ("test", "val")  # whose pipeline is meant, the first that the config has
_JPEG_END = b"\xff\xd9"
_WITHOUT_EFFECT = ("LoadImageFromFile", "LoadAnnotations", "PackDetInputs")


class BadImage(UserError):
    """A file that is not an image, or is damaged; the text names it."""


def find(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """Image files by name, each once.

    Args:
        paths: files; folders, which stand for all images below them; patterns with ``*``, ``?``, ``[``, where ``**``
            stands for any folders.

    Raises:
        UserError: a path does not exist, a pattern matches nothing, a folder has no image.
    """
    found: dict[Path, None] = {}
    for given in map(str, paths):
        path = Path(given)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            if not files:
                raise UserError(f"images {given}: no image in this folder; looked for {', '.join(SUFFIXES)}")
        elif path.exists():
            files = [path]
        else:
            files = sorted(Path(file) for file in glob.glob(given, recursive=True) if Path(file).is_file())
            if not files:
                what = "no file matches this pattern" if glob.has_magic(given) else "no such file or folder"
                raise UserError(f"images {given}: {what}")
        found.update(dict.fromkeys(files))
    return list(found)


def read(path: str | os.PathLike) -> np.ndarray:
    """An image file as u8 (H,W,3) BGR, turned as its EXIF orientation says.

    Raises:
        BadImage: the file cannot be read, is no image, or is cut short.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BadImage(f"image {str(path)!r}: {error.strerror}") from None
    # OpenCV decodes a truncated JPEG into a half-grey picture without an error; cameras may append bytes after its end.
    if content.startswith(b"\xff\xd8") and not content.endswith(_JPEG_END):
        try:
            with Image.open(path) as picture:
                picture.load()
        except Exception as error:
            raise BadImage(f"image {str(path)!r}: truncated or damaged: {described(error)}") from None
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise BadImage(f"image {str(path)!r}: not an image, or of a kind that OpenCV does not read")
    return image


@dataclass(frozen=True)
class Pipeline:
    """What a test pipeline does to an image.

    Attributes:
        scale: (w, h) of MMDetection's Resize; None: the image stays as it is.
        keep_ratio: whether `scale` is a frame (its longer side for the image's longer side) or the size itself.
        most_proposals: how many of an image's proposals are taken, None: all.
    """

    scale: tuple[int, int] | None = None
    keep_ratio: bool = False
    most_proposals: int | None = None

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Resizes u8 (H,W,3); returns u8 (h,w,3) and its scale factors (w,h,w,h), f32 (4,)."""
        height, width = image.shape[:2]
        new_width, new_height = self._size(width, height)
        factor = np.array([new_width / width, new_height / height], np.float32)
        if (new_width, new_height) != (width, height):
            image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
        return image, np.tile(factor, 2)

    def _size(self, width: int, height: int) -> tuple[int, int]:
        if self.scale is None:
            return width, height
        if not self.keep_ratio:
            return self.scale
        long, short = max(self.scale), min(self.scale)
        factor = min(long / max(width, height), short / min(width, height))
        return max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)


def pipeline_of(config: Config) -> Pipeline:
    """The test pipeline of a config, that of its ``test_dataloader`` or else of its ``val_dataloader``.

    Raises:
        UserError: the config has none, or it has a step that is not known here.
    """
    dataset = dataset_of(config)
    steps = dataset.get("pipeline")
    if not steps:
        raise UserError(
            f"config {config.filename!r} has no test pipeline (test_dataloader.dataset.pipeline); it says how images "
            "are resized"
        )
    settings: dict[str, Any] = {}
    for step in steps:
        kind = step.get("type")
        if kind == "LoadProposals":
            settings["most_proposals"] = step.get("num_max_proposals")
        elif kind == "Resize" and "scale" in step and "scale" not in settings:
            scale = step["scale"]
            settings["scale"] = (scale, scale) if isinstance(scale, int) else tuple(scale)
            settings["keep_ratio"] = step.get("keep_ratio", False)
        elif kind not in _WITHOUT_EFFECT:
            raise UserError(
                f"test pipeline of {config.filename!r}: {dict(step)} is not supported here; known are one Resize with "
                f"a scale, LoadProposals, {', '.join(_WITHOUT_EFFECT)}"
            )
    return Pipeline(**settings)


def dataset_of(config: Config) -> dict[str, Any]:
    """The data set whose pipeline counts, the first of several; an empty dict where the config has none."""
    for split in SPLITS:
        dataset = (config.get(f"{split}_dataloader") or {}).get("dataset")
        while dataset and "pipeline" not in dataset:
            dataset = dataset["datasets"][0] if dataset.get("datasets") else dataset.get("dataset")
        if dataset:
            return dataset
    return {}
