"""The images of a data set as columns, by which proposals are found again.

    text     u8 (B,)        of each image the JSON of [id, "folder/name.jpg"] and a line end; more line ends fill up to
                            a multiple of 8
    ends     i64 (images,)  where the line of each ends
    hashes   u64 (images,)  xxh3 of each line

In a file of proposals all three are mapped: nothing is read of them but the hashes, until an image is to be named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from shared import json_text

_ALIGNMENT = 8
_IDENTITIES = (int, str, float, type(None))

ImageKey = tuple[Any, str]  # id, "folder/name"


def image_key(info: dict[str, Any]) -> ImageKey:
    """What MMDetection's record of an image says it is: its id and, as in MMDetection's own proposal files, the last
    two parts of its path."""
    parts = info["img_path"].rsplit("/", 2)[-2:]
    if "" in parts or "." in parts:  # pathlib knows what they are; it takes five times as long
        parts = list(Path(info["img_path"]).parts[-2:])
    return info.get("img_id"), "/".join(parts)


@dataclass(frozen=True)
class ImageNames:
    """See the module's text. Has a length, and yields the keys of its images."""

    text: np.ndarray
    ends: np.ndarray
    hashes: np.ndarray

    @classmethod
    def of(cls, keys: Iterable[ImageKey]) -> ImageNames:
        """Of all images, in their order."""
        text, ends, hashes = bytearray(), [], []
        for key in keys:
            line = json.dumps(key).encode() + b"\n"
            text += line
            ends.append(len(text))
            hashes.append(xxhash.xxh3_64_intdigest(line))
        text += b"\n" * (-len(text) % _ALIGNMENT)
        return cls(np.frombuffer(text, np.uint8), np.array(ends, np.int64), np.array(hashes, np.uint64))

    def __len__(self) -> int:
        return len(self.hashes)

    def __iter__(self) -> Iterator[ImageKey]:
        return map(self.key, range(len(self)))

    def key(self, place: int) -> ImageKey:
        """Of one image. Raises ValueError where the columns have been damaged."""
        line = self.text[self.ends[place - 1] if place else 0 : self.ends[place]].tobytes()
        found = json_text.parse(line)
        if xxhash.xxh3_64_intdigest(line) == self.hashes[place] and isinstance(found, list) and len(found) == 2:
            identity, name = found
            if isinstance(identity, _IDENTITIES) and isinstance(name, str):
                return identity, name
        raise ValueError(f"image {place} is no id and name")

    def places(self, wanted: ImageNames) -> np.ndarray:
        """Where each of the `wanted` images is among these, int64 (wanted,); -1 where it is not."""
        if np.array_equal(self.hashes, wanted.hashes):
            return np.arange(len(self))
        if len(self) == 0:
            return np.full(len(wanted), -1)
        order = np.argsort(self.hashes, kind="stable")
        found = order[np.searchsorted(self.hashes, wanted.hashes, sorter=order).clip(max=len(self) - 1)]
        return np.where(self.hashes[found] == wanted.hashes, found, -1)

    @property
    def fingerprint(self) -> str:
        """Of these images in this order."""
        return xxhash.xxh3_64(self.text.data).hexdigest()
