"""The first pass of probability calibration: how often an uncalibrated detector finds each class.

batches ──► detector, uncalibrated ──► detections, after NMS and max_per_img ──► n_c
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from trainer.batch import Batch
from trainer.device import jt, nn
from trainer.evaluation.readings import uncalibrated


def count_detections(model: nn.Module, batches: Iterable[Batch]) -> np.ndarray:
    """n_c, i64 (C,), over all images that count. The model is in evaluation mode afterwards."""
    head = model.roi_head.bbox_head
    counts = np.zeros(head.num_classes, np.int64)
    model.eval()
    with jt.no_grad(), uncalibrated(head):
        for batch in batches:
            for found in model.predict(batch)[: batch.valid]:
                counts += np.bincount(found.labels, minlength=len(counts))
            jt.sync_all()
    return counts
