"""Detections as arrays: what a PREDICTIONS message carries, and what an evaluation keeps.

predictions_<split>.npz   the arrays of `shared.messages.Predictions`, all batches end to end
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shared.files import save
from shared.predictions import arrays_of

if TYPE_CHECKING:  # reading the file needs no Jittor
    from trainer.batch import Batch
    from trainer.models import Detections


def as_arrays(batch: Batch, detections: Sequence[Detections]) -> dict[str, np.ndarray]:
    """One batch's detections, those of its first images, as the arrays of a PREDICTIONS message."""
    count = len(detections)
    found = ((one.boxes, one.scores, one.labels) for one in detections)
    return arrays_of(batch.host["image_ids"][:count], batch.host["original_shapes"][:count], found)


def file_of(work_dir: Path, split: str) -> Path:
    """Where the predictions of a split are kept."""
    return work_dir / f"predictions_{split}.npz"


def keep(predictions: Sequence[dict[str, np.ndarray]], work_dir: Path, split: str) -> Path:
    """Writes predictions, one entry a batch; returns where. Raises UserError when they cannot be written."""
    path, content = file_of(work_dir, split), io.BytesIO()
    arrays = {name: np.concatenate([one[name] for one in predictions]) for name in predictions[0]}
    np.savez_compressed(content, **arrays)
    save(path, content.getvalue())
    return path
