"""What both sides hold of pictures: which files are whole, and how colours become bytes.

JPEG     OpenCV turns the half of a file into a half-grey picture without an error; here it is told
colours  u8 (H,W,3) BGR; floats of 0..255 are rounded to the nearest whole number, an even one at .5, and cut to
         0..255; so are int64 numbers of 0..255, which MMDetection's CopyPaste makes of bytes.
         Or f32 (H,W,3): floats and whole numbers as they are
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import JpegImagePlugin

from shared.errors import UserError, described

_START, _END = b"\xff\xd8", b"\xff\xd9"


def ends_early(file: BinaryIO) -> str | None:
    """Why a JPEG file, open at its beginning, cannot be decoded to its end; None for a whole one, and for a file of any
    other kind.

    Some cameras append bytes after the end marker: only decoding tells such a file from one that is cut short. It is
    decoded in an eighth of its size, which reads every byte, takes little memory and knows no limit of pixels.
    """
    if file.read(len(_START)) != _START:
        return None
    file.seek(-len(_END), os.SEEK_END)
    if file.read() == _END:
        return None
    file.seek(0)
    try:
        picture = JpegImagePlugin.JpegImageFile(file)
        picture.draft("L", (1, 1))
        picture.load()
    except Exception as error:
        return f"truncated or damaged: {described(error)}"
    return None


def colours(image: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """A picture (H,W,3) as 'uint8' or 'float32'; one that is that already is returned as it is.

    Raises:
        UserError: it has not three channels, or other numbers than bytes, floats or those of 0..255.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"images have shape {image.shape}; expected three channels, (h, w, 3): "
            "load them with LoadImageFromFile(color_type='color')"
        )
    whole = image.dtype == np.uint8 or (image.dtype == np.int64 and image.min() >= 0 and image.max() <= 255)
    if not whole and image.dtype.kind != "f":
        raise UserError(
            f"images have dtype {image.dtype}; expected uint8, or floats of 0..255: "
            "load them with LoadImageFromFile(color_type='color')"
        )
    return rounded(image) if not whole and dtype == "uint8" else image.astype(dtype, copy=False)


def rounded(colours: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Floats of 0..255 as bytes."""
    found: npt.NDArray[np.uint8] = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return found
