"""What a stream's nursery reports to the server about the data set that it has built."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.batch import BOX_MULTIPLE, layout_of, padded
from shared.messages import Facts


@dataclass(frozen=True)
class DatasetFacts:
    """What bounds a stream's batches.

    `wide` uint8 (images,), 1 where an image is wider than high; the most boxes and the most proposals an image has (0:
    none are asked for); `height` x `width` pixels is the largest area of a padded image; the annotations'
    `fingerprint`; how many images each data set has (`sizes`) and the names of its `classes`. `by_class` int64, the
    images that each class is in, where the sampler goes by them.
    """

    wide: npt.NDArray[np.uint8]
    max_boxes: int
    max_proposals: int
    height: int
    width: int
    fingerprint: str
    sizes: list[int]
    classes: list[Any]
    by_class: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def to_memory(self) -> int:
        """A memfd that holds `wide` and `by_class`, which are too long for a message; returns its descriptor.

        wide (uint8) | number of classes (int64 from here) | images of each class | those of the first | the second ...
        """
        descriptor = os.memfd_create("unidetector-facts")
        counts = [len(images) for images in self.by_class]
        os.write(descriptor, self.wide.tobytes())
        os.write(descriptor, np.concatenate([[len(counts)], counts, *self.by_class]).astype(np.int64).tobytes())
        return descriptor

    @classmethod
    def received(cls, facts: Facts, descriptor: int) -> DatasetFacts:
        """Puts a FACTS message and its memfd together again. Closes `descriptor`."""
        with open(descriptor, "rb") as file:
            file.seek(0)
            wide = np.frombuffer(file.read(facts.images), np.uint8)
            (classes,) = np.frombuffer(file.read(8), np.int64)
            counts = np.frombuffer(file.read(8 * classes), np.int64)
            images = np.frombuffer(file.read(), np.int64)
        return cls(
            wide,
            facts.max_boxes,
            facts.max_proposals,
            facts.batch_height,
            facts.batch_width,
            facts.fingerprint,
            facts.sizes,
            facts.classes,
            np.split(images, np.cumsum(counts)[:-1]) if classes else [],
        )

    def change_since(self, first: DatasetFacts) -> str:
        """What is not as it was when a stream began, as a sentence; empty when all is."""
        if self.sizes != first.sizes:
            what = f"it has {_text(self.sizes)} images, it had {_text(first.sizes)}"
        elif self.classes != first.classes:
            what = "it has other classes"
        elif self.fingerprint != first.fingerprint:
            what = f"its annotations are others (fingerprint {self.fingerprint}, was {first.fingerprint})"
        elif not np.array_equal(self.wide, first.wide) or self._bounds != first._bounds:
            what = "its images have other sizes or its pipeline other bounds"
        else:
            return ""
        return (
            f"changed while it was in use: {what}; put the files back, or start again (a training: with --resume) "
            "to go on with what is there now"
        )

    @property
    def _bounds(self) -> tuple[int, ...]:
        return self.max_boxes, self.max_proposals, self.height, self.width

    def payload_bytes(self, config: dict[str, Any]) -> int:
        """Bytes of the largest batch of a stream with this data part of a config."""
        boxes = padded(config["feed"]["max_boxes"] or max(1, self.max_boxes), BOX_MULTIPLE)
        size = config["batch_size"], self.height, self.width
        return layout_of(*size, boxes, self.max_proposals, config["feed"]["image_dtype"]).nbytes


def _text(sizes: list[int]) -> str:
    return " + ".join(map(str, sizes))
