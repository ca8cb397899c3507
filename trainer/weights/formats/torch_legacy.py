"""PyTorch's file from before version 1.6: pickles and numbers, one after the other.

pickle    MAGIC_NUMBER
pickle    1001, the format's version
pickle    the machine that wrote it: little_endian
pickle    what the file holds (see `pickled`)
pickle    list of the storages' keys, in the order of what follows
for each  int64: how many numbers; then the numbers
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from shared.errors import UserError, described
from trainer.weights.formats import pickled, tensors

MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # the pickle of the magic number
VERSION = 1001


def read(path: Path) -> dict[str, np.ndarray]:
    """Weights by the file's own names, see `tensors.arrays`.

    Raises:
        UserError: the file is cut short or damaged, or holds something else than weights.
    """
    where = f"weights {path}"
    try:
        with open(path, "rb") as file:
            return _read(file, where)
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({described(error)})") from error


def _read(file: BinaryIO, where: str) -> dict[str, np.ndarray]:
    file.seek(len(MAGIC))
    version, _ = pickled.load(file, where)
    if version != VERSION:
        found = version if isinstance(version, int) else f"a {type(version).__name__}"
        raise UserError(f"{where}: version {found} of PyTorch's older format, expected {VERSION}")
    machine, _ = pickled.load(file, where)
    big_endian = isinstance(machine, dict) and machine.get("little_endian") is False
    start = file.tell()
    tree, itemsizes = pickled.load(file, where)
    described_by = file.tell() - start
    keys, _ = pickled.load(file, where)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in itemsizes for key in keys):
        raise UserError(f"{where}: its list of storages is damaged; fetch or save the file again")
    places = _places(file, keys, itemsizes, big_endian, where)

    def content(key: str) -> bytes:
        if key not in places:
            raise UserError(f"{where}: storage {key!r} is missing; the file is damaged")
        start, length = places[key]
        file.seek(start)
        return file.read(length)

    return tensors.arrays(tree, described_by, content, big_endian, where)


def _places(
    file: BinaryIO, keys: list[str], itemsizes: dict[str, int], big_endian: bool, where: str
) -> dict[str, tuple[int, int]]:
    """(first byte, bytes) of each storage."""
    places, end = {}, os.fstat(file.fileno()).st_size
    for key in keys:
        count = file.read(8)
        length = int.from_bytes(count, "big" if big_endian else "little") * itemsizes[key]
        start = file.tell()
        if len(count) < 8 or start + length > end:
            raise UserError(f"{where}: cut short at {end} bytes; fetch the file again and compare its size")
        places[key] = (start, length)
        file.seek(length, os.SEEK_CUR)
    return places
