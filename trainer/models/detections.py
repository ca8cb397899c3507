"""What a detector finds in one image: on the device, and read from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.device import jt


@dataclass
class Detections:
    """Detections by descending score.

    Attributes:
        boxes: f32 (m,4), x1,y1,x2,y2 in pixels of the original image.
        scores: f32 (m,).
        labels: i32 (m,).
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclass
class Found:
    """The same on the device, as suppression leaves it: P boxes, and K rows of which `count` are used.

    Attributes:
        boxes: f32 (P,4).
        rows, labels: i32 (K,), which box, and its class.
        scores: f32 (K,).
        count: i32 (1,).
    """

    boxes: jt.Var
    rows: jt.Var
    labels: jt.Var
    scores: jt.Var
    count: jt.Var

    def packed(self) -> jt.Var:
        """All of it as f32 (1 + 3K + 4P,): indices and classes are small enough for a float."""
        # Jittor does not manage to compile what follows together with what comes before.
        jt.sync([self.boxes, self.rows, self.labels, self.scores, self.count])
        columns = [self.count.float32(), self.rows.float32(), self.labels.float32(), self.scores]
        return jt.concat([*columns, self.boxes.reshape(-1)])

    def unpacked(self, numbers: np.ndarray) -> Detections:
        """Detections from what `packed` has become on the host, f32 (n,)."""
        length = self.rows.shape[0]
        count = int(numbers[0])
        rows, labels, scores = (numbers[1 + i * length :][:count] for i in range(3))
        boxes = numbers[1 + 3 * length :].reshape(-1, 4)
        return Detections(boxes[rows.astype(np.int32)], scores.copy(), labels.astype(np.int32))


def read(found: Sequence[Found], packed: Sequence[jt.Var] = ()) -> list[Detections]:
    """Detections of each, with one wait for a GPU.

    Args:
        packed: f32 (n,) of each of `found`, where that is to be computed before; else empty.
    """
    arrays = list(packed) or [one.packed() for one in found]
    ends = np.cumsum([one.shape[0] for one in arrays])
    numbers = np.split(jt.concat(arrays).numpy(), ends[:-1])
    return [one.unpacked(part) for one, part in zip(found, numbers, strict=True)]
