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
        rows: i32 (K,), which box.
        labels: i32 (K,), its class; None where there is one class.
        scores: f32 (K,); where there is one class, of each box (P,).
        count: i32 (1,).
    """

    boxes: jt.Var
    rows: jt.Var
    labels: jt.Var | None
    scores: jt.Var
    count: jt.Var

    def fetched(self) -> Detections:
        """Detections, array by array: on the CPU, where they need no copy."""
        labels = None if self.labels is None else self.labels.numpy()
        return _detections(self.count.item(), self.boxes.numpy(), self.rows.numpy(), labels, self.scores.numpy())

    def packed(self) -> jt.Var:
        """All of it as one f32 (n,): indices and classes are small enough for a float."""
        arrays = [self.count, self.rows, self.scores, self.boxes, *([] if self.labels is None else [self.labels])]
        jt.sync(arrays)  # Jittor does not manage to compile what follows together with what comes before
        return jt.concat([one.reshape(-1).float32() for one in arrays])

    def unpacked(self, numbers: np.ndarray) -> Detections:
        """Detections from what `packed` has become on the host, f32 (n,)."""
        lengths = [1, self.rows.numel(), self.scores.numel(), self.boxes.numel()]
        count, rows, scores, boxes, labels = np.split(numbers, np.cumsum(lengths))
        classes = None if self.labels is None else labels.astype(np.int32)
        return _detections(int(count[0]), boxes.reshape(-1, 4), rows.astype(np.int32), classes, scores)


def _detections(
    count: int, boxes: np.ndarray, rows: np.ndarray, labels: np.ndarray | None, scores: np.ndarray
) -> Detections:
    used = rows[:count]
    if labels is None:
        return Detections(boxes[used], scores[used], np.zeros(count, np.int32))
    return Detections(boxes[used], scores[:count].copy(), labels[:count])


def read(found: Sequence[Found], packed: Sequence[jt.Var] = ()) -> list[Detections]:
    """Detections of each.

    Args:
        packed: f32 (n,) of each of `found`: then a GPU is waited for once. Without, array by array.
    """
    if not packed:
        return [one.fetched() for one in found]
    ends = np.cumsum([one.shape[0] for one in packed])
    numbers = np.split(jt.concat(list(packed)).numpy(), ends[:-1])
    return [one.unpacked(part) for one, part in zip(found, numbers, strict=True)]
