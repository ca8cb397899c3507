"""Looks at the image files of a data set: that each is there, and of some, or all, that they can be decoded to their
end and have the size that the annotations say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from data_server.files.image import damage

THREADS = min(4, os.cpu_count() or 1)  # decoders leave Python's lock
_AT_A_TIME = 64  # images being decoded
_ORIENTATION = 0x0112  # EXIF
_TURNED = (5, 6, 7, 8)

ImageRecord = tuple[str, int, int]  # path; width and height that the annotations say, 0 where they do not


def check(subject: Subject, found: Findings) -> str:
    """Looks at the files of a data set that could be built, and says how many were decoded."""
    if subject.whole is None:
        return ""
    dataset = subject.whole.dataset
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    images = [(info["img_path"], info.get("width", 0), info.get("height", 0)) for info in infos]
    return f"{look_at(images, subject.decode, found):,} images decoded"


def look_at(images: list[ImageRecord], decode: int | None, found: Findings) -> int:
    """Checks image files.

    Args:
        images: of a data set.
        decode: how many of them are decoded, spread over all; None: all.
        found: faults go there.

    Returns:
        how many were decoded.
    """
    for path, *_ in images:
        if not Path(path).is_file():
            found.error("image files that are not there", path)
    count = len(images) if decode is None else min(decode, len(images))
    chosen = (images[place] for place in np.linspace(0, len(images) - 1, count).round().astype(int))
    present = (image for image in chosen if Path(image[0]).is_file())
    decoded = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for some in _batches(present):
            for (path, width, height), (fault, size) in zip(some, pool.map(_decoded, some), strict=True):
                decoded += 1
                if fault:
                    found.error("image files that cannot be read", f"{path} ({fault})")
                elif width and size != (width, height):
                    found.error(
                        "images of another size than the annotations say",
                        f"{path} ({size[0]}x{size[1]}, expected {width}x{height})",
                    )
    return decoded


def _batches(images: Iterator[ImageRecord]) -> Iterator[list[ImageRecord]]:
    while some := list(islice(images, _AT_A_TIME)):
        yield some


def _decoded(image: ImageRecord) -> tuple[str | None, tuple[int, int]]:
    """Why a file cannot be decoded, or None; and its width and height as OpenCV shows it, turned upright."""
    path = image[0]
    if fault := damage(path):
        return fault, (0, 0)
    with Image.open(path) as opened:
        width, height = opened.size
        turned = opened.getexif().get(_ORIENTATION) in _TURNED
    return None, (height, width) if turned else (width, height)
