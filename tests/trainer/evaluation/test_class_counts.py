"""Calibration's first pass counts what the detector finds by itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from tests.trainer.models.clip_examples import batch_with_proposals, small_clip_model
from trainer import device
from trainer.evaluation.class_counts import count_detections
from trainer.models import build_detector


def test_detections_are_counted_by_class_without_calibration_and_without_images_that_fill_a_batch(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "counts.npy", np.arange(1, 13))
    calibrated = {"roi_head.bbox_head.gamma": 0.6, "roi_head.bbox_head.detection_counts": str(tmp_path / "counts.npy")}
    head = {
        "roi_head.bbox_head.type": "BBoxHeadCLIPInference",
        "roi_head.bbox_head.beta": 0.4,
        "test_cfg.rcnn.score_thr": 0.0,
    }
    device.seed(0)
    model = build_detector(small_clip_model(tmp_path, **head, **calibrated))
    batches = [batch_with_proposals(seed=0), dataclasses.replace(batch_with_proposals(seed=1), valid=1)]
    counts = count_detections(model, batches)
    assert not model.is_training()

    device.seed(0)
    plain = build_detector(small_clip_model(tmp_path, **head))
    plain.eval()
    found = [*plain.predict(batches[0]), plain.predict(batches[1])[0]]
    labels = np.concatenate([one.labels for one in found])
    assert len(set(labels)) > 1
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=12), strict=True)
