"""Intersection over union of boxes x1,y1,x2,y2, without a +1 anywhere."""

from __future__ import annotations

from trainer.device import jt
from trainer.models.boxes.columns import split

EPS = 1e-6  # the smallest union (mmdet's bbox_overlaps)


def aligned_iou(boxes: jt.Var, others: jt.Var) -> jt.Var:
    """IoU of matching rows, differentiable; boxes with a negative side have no intersection.

    Args:
        boxes, others: f32 (..., 4).

    Returns:
        f32 (...).
    """
    ax1, ay1, ax2, ay2 = split(boxes)
    bx1, by1, bx2, by2 = split(others)
    width = jt.maximum(jt.minimum(ax2, bx2) - jt.maximum(ax1, bx1), 0.0)
    height = jt.maximum(jt.minimum(ay2, by2) - jt.maximum(ay1, by1), 0.0)
    intersection = width * height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection
    return intersection / jt.maximum(union, EPS)
