"""Intersection over union of boxes x1,y1,x2,y2, without a +1 anywhere."""

from __future__ import annotations

from trainer.device import jt
from trainer.models.boxes.columns import corners, product

EPS = 1e-6  # the smallest union (mmdet's bbox_overlaps)


def aligned_iou(boxes: jt.Var, others: jt.Var) -> jt.Var:
    """IoU of matching rows, differentiable; boxes with a negative side have no intersection.

    Args:
        boxes, others: f32 (B,N,4).

    Returns:
        f32 (B,N).
    """
    (low, high), (other_low, other_high) = corners(boxes), corners(others)
    intersection = product(jt.maximum(jt.minimum(high, other_high) - jt.maximum(low, other_low), 0.0))
    union = product(high - low) + product(other_high - other_low) - intersection
    return intersection / jt.maximum(union, EPS)
