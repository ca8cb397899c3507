"""What is wrong with an image file, in an archive or not; torch-free, so that it can be asked anywhere."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from shared import source
from shared.errors import described
from shared.regular import unfit


def damage(path: str) -> str | None:
    """Why a file cannot be decoded to its end; None for a good image, and for one too large for Pillow."""
    if fault := unfit(path):
        return fault
    try:
        with Image.open(io.BytesIO(source.read(path))) as image:
            image.load()
    except UnidentifiedImageError:
        return "not an image"
    except Image.DecompressionBombError:
        return None
    except Exception as error:
        return f"truncated or damaged: {described(error)}"
    return None


def kind(path: str) -> str | None:
    """The format of an image file and its colours, such as ``GIF of mode P``; None where Pillow does not know it."""
    try:
        with Image.open(io.BytesIO(source.read(path))) as image:
            return f"{image.format} of mode {image.mode}"
    except Exception:
        return None
