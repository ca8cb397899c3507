"""What is wrong with an image file; torch-free, so that it can be asked anywhere."""

from __future__ import annotations

from PIL import Image, UnidentifiedImageError

from shared.errors import described


def damage(path: str) -> str | None:
    """Why a file cannot be decoded to its end; None for a good image."""
    try:
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        return "not an image"
    except Exception as error:
        return f"truncated or damaged: {described(error)}"
    return None
