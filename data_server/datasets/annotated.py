"""What is annotated about some images, as arrays, and the fingerprint of all of it.

A fingerprint is the same for the same data, whether it comes from an index or from MMDetection's records, a few images
or many at a time::

    "2-" and xxh3_64 of │ ids │ sizes │ counts │ boxes │ labels │ ignored │ others │      each hashed by itself

where ids, counts, labels and ignored are int64, sizes and boxes float64; what is no such number is a mark there and its
text among the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

KIND = "2"  # of fingerprints; those of another kind cannot be compared
_MARK = -(1 << 63)
_INT64 = range(_MARK + 1, 1 << 63)


@dataclass(frozen=True)
class Annotated:
    """Some images.

    `identities` int64 (n,) or a list of whatever ids there are; `sizes` float64 (n,2) widths and heights in pixels;
    `counts` int64 (n,) boxes of each; `boxes` float64 (m,4) x1,y1,x2,y2, NaN where there is none; `labels` int64 (m,)
    and `ignored` int64 (m,), or lists.
    """

    identities: Any
    sizes: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    labels: Any
    ignored: Any


class Fingerprint:
    """The fingerprint of images that come a few at a time."""

    def __init__(self) -> None:
        self._parts = [xxhash.xxh3_64() for _ in range(7)]
        self._images = self._boxes = 0

    def update(self, some: Annotated) -> None:
        """Adds the images that come next."""
        identities, sizes, counts, boxes, labels, ignored, _ = self._parts
        identities.update(self._numbers(some.identities, "id", self._images).tobytes())
        sizes.update(some.sizes.tobytes())
        counts.update(some.counts.astype(np.int64).tobytes())
        boxes.update(np.ascontiguousarray(some.boxes).data)
        labels.update(self._numbers(some.labels, "label", self._boxes).tobytes())
        ignored.update(self._numbers(some.ignored, "ignored", self._boxes).tobytes())
        self._images += len(some.counts)
        self._boxes += len(some.boxes)

    def hexdigest(self, *others: bytes) -> str:
        """The fingerprint of all images, and of `others` beside them."""
        digest = xxhash.xxh3_64(b"".join(part.digest() for part in self._parts))
        for other in others:
            digest.update(other)
        return f"{KIND}-{digest.hexdigest()}"

    def _numbers(self, values: Any, what: str, place: int) -> npt.NDArray[np.int64]:
        if isinstance(values, np.ndarray):
            return values.astype(np.int64)
        numbers = np.empty(len(values), np.int64)
        for row, value in enumerate(values):
            if type(value) is int and value in _INT64:
                numbers[row] = value
            else:
                numbers[row] = _MARK
                self._parts[-1].update(f"{what} {place + row} {value!r}\n".encode(errors="backslashreplace"))
        return numbers


def of_records(records: Sequence[dict[str, Any]]) -> Annotated:
    """What MMDetection's records of some images say; sizes are 0 where they do not."""
    instances = [one for record in records for one in record.get("instances", ())]
    sizes = [(record.get("width", 0), record.get("height", 0)) for record in records]
    boxes = np.full((len(instances), 4), math.nan)
    labels: list[Any] = []
    for row, one in enumerate(instances):
        box, label = one.get("bbox"), one.get("bbox_label")
        if box is not None and len(box) == 4:
            boxes[row] = box
        elif box is not None:  # of another data set's kind; it counts as well
            label = (label, box)
        labels.append(label)
    return Annotated(
        identities=[record.get("img_id") for record in records],
        sizes=np.array(sizes, np.float64).reshape(-1, 2),
        counts=np.array([len(record.get("instances", ())) for record in records], np.int64),
        boxes=boxes,
        labels=labels,
        ignored=[one.get("ignore_flag") for one in instances],
    )
