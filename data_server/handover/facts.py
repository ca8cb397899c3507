"""What a stream's nursery reports to the server about the data set that it has built."""

from __future__ import annotations

import os
from dataclasses import dataclass
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
    `fingerprint`; how many images each data set has (`sizes`).
    """

    wide: npt.NDArray[np.uint8]
    max_boxes: int
    max_proposals: int
    height: int
    width: int
    fingerprint: str
    sizes: list[int]

    def to_memory(self) -> int:
        """A memfd that holds `wide`, which is too long for a message; returns its descriptor."""
        descriptor = os.memfd_create("unidetector-facts", os.MFD_CLOEXEC)
        os.write(descriptor, self.wide.tobytes())
        return descriptor

    @classmethod
    def received(cls, facts: Facts, descriptor: int) -> DatasetFacts:
        """Puts a FACTS message and its memfd together again. Closes `descriptor`."""
        wide = np.frombuffer(os.pread(descriptor, facts.images, 0), np.uint8)
        os.close(descriptor)
        return cls(
            wide,
            facts.max_boxes,
            facts.max_proposals,
            facts.batch_height,
            facts.batch_width,
            facts.fingerprint,
            facts.sizes,
        )

    def payload_bytes(self, config: dict[str, Any]) -> int:
        """Bytes of the largest batch of a stream with this data part of a config."""
        boxes = padded(config["feed"]["max_boxes"] or max(1, self.max_boxes), BOX_MULTIPLE)
        return layout_of(config["batch_size"], self.height, self.width, boxes, self.max_proposals).nbytes
