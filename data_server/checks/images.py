"""Looks at the image files of a data set: that each is there, and of some, or all, that they can be decoded to their
end and have the size that the annotations say. They are decoded by the data set's own pipeline, as workers do it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from data_server.datasets import pictures
from shared import source

if TYPE_CHECKING:
    from data_server.datasets.part import Part

THREADS = min(4, os.cpu_count() or 1)  # decoders leave Python's lock
_AT_A_TIME = 64  # images being decoded

ImageRecord = tuple[str, int, int]  # path; width and height that the annotations say, 0 where they do not
Loader = Callable[[int], np.ndarray]


def check(subject: Subject, found: Findings) -> str:
    """Looks at the files of a data set that could be built, and says how many were decoded."""
    part = subject.whole
    if part is None:
        return ""
    is_there = source.is_there if not pictures.by_backend(part) else bool
    decoded = look_at(_Records(part), partial(pictures.decoded, part), subject.decode, found, is_there)
    return f"{decoded:,} images decoded"


def look_at(
    images: Sequence[ImageRecord],
    load: Loader,
    decode: int | None,
    found: Findings,
    is_there: Callable[[str], bool] = source.is_there,
) -> int:
    """Checks image files.

    Args:
        images: of a data set.
        load: the picture of an image, by its place in `images`; raises an Exception where it cannot be loaded.
        decode: how many of them are decoded, spread over all; None: all.
        found: faults go there.
        is_there: whether there may be a file behind a path.

    Returns:
        how many were decoded.
    """
    for path, *_ in images:
        if not is_there(path):
            found.error("image files that are not there", path)
    count = len(images) if decode is None else min(decode, len(images))
    chosen = map(int, np.linspace(0, len(images) - 1, count).round())
    present = (place for place in chosen if is_there(images[place][0]))
    decoded = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for some in _batches(present):
            looks = pool.map(lambda place: _decoded(images[place][0], load, place), some)
            for (path, width, height), (fault, size) in zip(map(images.__getitem__, some), looks, strict=True):
                decoded += fault is None
                if fault:
                    found.error("image files that cannot be read", f"{path} ({fault})")
                elif width and size != (width, height):
                    found.error(
                        "images of another size than the annotations say",
                        f"{path} ({size[0]}x{size[1]}, expected {width}x{height})",
                    )
    return decoded


class _Records(Sequence[ImageRecord]):
    """The images of a data set; a record is made when it is asked for."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def __len__(self) -> int:
        return len(self._part.dataset)

    def __getitem__(self, index: Any) -> Any:
        return self._part.picture(range(len(self))[index])


def _batches(places: Iterator[int]) -> Iterator[list[int]]:
    while some := list(islice(places, _AT_A_TIME)):
        yield some


def _decoded(path: str, load: Loader, place: int) -> tuple[str | None, tuple[int, int]]:
    """Why a file cannot be decoded, or None; and the width and height of its picture."""
    try:
        image = load(place)
    except Exception as error:
        return pictures.reason(path, error), (0, 0)
    if fault := pictures.fault(path):
        return fault, (0, 0)
    if image.ndim != 3 or image.shape[2] != 3 or not (image.dtype == np.uint8 or image.dtype.kind == "f"):
        return (
            f"{image.dtype} {image.shape}, expected three channels of bytes; set LoadImageFromFile.color_type='color'",
            (0, 0),
        )
    return None, (image.shape[1], image.shape[0])
