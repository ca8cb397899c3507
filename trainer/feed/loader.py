"""MMDetection's LoadImageFromFile without MMDetection: the same pixels from the same file.

file ── cv2 or Pillow, EXIF orientation as `color_type` says ──► u8 (H,W,3) BGR
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from PIL import Image, ImageOps

from shared import source
from shared.errors import UserError, described
from shared.keys import SWITCH, Values, one_of
from shared.pictures import ends_early
from shared.regular import unfit


class BadImage(UserError):
    """A file that is not an image, or is damaged, or cannot be brought to its size; the text says which."""


def _is_local(value: object) -> bool:
    return value is None or value in ({"backend": "local"}, {"backend": "disk"})


_FILE = Values(_is_local, "None or dict(backend='local'): files of this machine; copy the images here")

CV2_FLAGS = {
    "color": cv2.IMREAD_COLOR,
    "unchanged": cv2.IMREAD_UNCHANGED,
    "color_ignore_orientation": cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
}
_COLOURS = Values(
    lambda value: value in CV2_FLAGS, f"{' or '.join(map(repr, CV2_FLAGS))} (the networks take three channels)"
)
_UNDER_LA = (124, 117, 104)  # what MMCV lays under a grey picture with opacity


@dataclass(frozen=True)
class Loader:
    """LoadImageFromFile.

    Attributes:
        color_type: one of `CV2_FLAGS`.
        backend: ``cv2`` or ``pillow``.
        to_float32: whether colours become floats.
    """

    KEYS: ClassVar[dict[str, Values]] = {
        "to_float32": SWITCH,
        "color_type": _COLOURS,
        "imdecode_backend": one_of("cv2", "pillow").or_none(),
        "file_client_args": _FILE,
        "ignore_empty": SWITCH,  # MMDetection refuses an unreadable image of a test set either way
        "backend_args": _FILE,
    }

    color_type: str = "color"
    backend: str = "cv2"
    to_float32: bool = False

    @classmethod
    def of(cls, step: dict[str, Any]) -> Loader:
        return cls(
            step.get("color_type", "color"), step.get("imdecode_backend") or "cv2", step.get("to_float32", False)
        )

    def __call__(self, path: str | os.PathLike) -> np.ndarray:
        """A file as u8 (H,W,3) BGR; `to_float32` is for whoever goes on (`Pipeline`).

        Raises:
            BadImage: it is no regular file, cannot be read, is no image, is cut short, or has not three channels of
                bytes.
        """
        if fault := unfit(path):
            raise BadImage(f"image {str(path)!r}: {fault}")
        try:
            content = source.read(path)
        except OSError as error:
            raise BadImage(f"image {str(path)!r}: {error.strerror or described(error)}") from None
        return self.decode(content, repr(str(path)))

    def decode(self, content: bytes, title: str) -> np.ndarray:
        """The same of a file's `content`, u8 (H,W,3) BGR.

        Args:
            title: what messages call it.

        Raises:
            BadImage: it is no image, is cut short, or has not three channels of bytes.
        """
        try:
            fault = ends_early(io.BytesIO(content))
            image = None if fault or not content else self._decoded(content)
        except Exception as error:
            fault, image = f"{self.backend} cannot decode it: {described(error)}", None
        if image is None:
            raise BadImage(f"image {title}: {fault or 'not an image, or of a kind that OpenCV does not read'}")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise BadImage(
                f"image {title}: {image.dtype} {image.shape}, expected three channels of bytes; "
                "LoadImageFromFile(color_type='color') of the config's test pipeline would make them"
            )
        return image

    def _decoded(self, content: bytes) -> np.ndarray | None:
        if self.backend == "cv2":
            return cv2.imdecode(np.frombuffer(content, np.uint8), CV2_FLAGS[self.color_type])
        picture: Image.Image = Image.open(io.BytesIO(content))
        if self.color_type == "unchanged":
            array = np.array(picture)
            if array.ndim == 3 and array.shape[2] >= 3:
                array[:, :, :3] = array[:, :, (2, 1, 0)]
            return array
        if self.color_type == "color":
            picture = ImageOps.exif_transpose(picture)
        if picture.mode == "LA":
            opaque = picture.convert("RGBA")
            picture = Image.new("RGB", opaque.size, _UNDER_LA)
            picture.paste(opaque, mask=opaque.split()[3])
        return np.ascontiguousarray(np.array(picture.convert("RGB"))[:, :, ::-1])
