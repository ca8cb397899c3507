"""What a detector finds in one image, on the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
