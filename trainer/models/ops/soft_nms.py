"""Suppression within every class of one image at once: Gaussian soft-NMS, and hard NMS as its limit.

A candidate is a pair (box, class) whose score exceeds a threshold. Within a class, greedily: the best candidate is
picked, and every other one with overlap IoU is

    soft    weakened, score · exp(-IoU² / sigma), and dropped when the result is below `min_score`
    hard    dropped when IoU > `iou_threshold`

Bodla et al., "Soft-NMS"; mmcv's soft_nms inside batched_nms, numbers included:

    * IoUs are those of boxes shifted by class · (largest coordinate + 1) in float32: far classes lose digits.
    * From `split_threshold` candidates on, mmcv runs each class for itself, and a class's best candidate is never
      compared with `min_score`. With fewer, all classes run together, and only the image's best one is exempt.

Scores only ever fall, so a class's picks come by descending score, and the best `most` of all classes are found by
always picking in the class with the best candidate: a class that contributes nothing costs one look. mmcv finishes
each class first, quadratic in its candidates, and then cuts.

    scores (N,C) ─► candidates of each class (parallel over classes) ─► best of each class ─► pick the best of these,
                                                                             ▲                    weaken its class
                                                                             └──────── `most` times ───┘

Equal scores: the lower box, then the lower class, first. Boxes without area have no overlap. Boxes are expected to be
clipped to the image: with negative coordinates mmcv's shifted classes can touch.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.device import jt
from trainer.device.kernels import kernel

SPLIT_THRESHOLD = 10_000  # candidates from which mmcv treats classes one by one

PICK = """
    soft_nms::pick(in0_p, in1_p, in0_shape0, in1_shape1, data["score"], data["soft"] != 0, data["iou"], data["sigma"],
                   data["least"], data["split"], out0_shape0, out0_p, out1_p, out2_p, out3_p, out4_p, out5_p, out6_p);
"""


@dataclass
class Picks:
    """What is left of an image's candidates, by descending score; K rows of which `count` are used.

    Attributes:
        rows: i32 (K,), indices of boxes, -1 behind the last.
        labels: i32 (K,), classes, -1 behind the last.
        scores: f32 (K,), after weakening.
        count: i32 (1,).
    """

    rows: jt.Var
    labels: jt.Var
    scores: jt.Var
    count: jt.Var


def soft_nms(
    boxes: jt.Var,
    scores: jt.Var,
    score_threshold: float,
    most: int,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    split_threshold: int = SPLIT_THRESHOLD,
) -> Picks:
    """Gaussian soft-NMS within each class of one image, see the module's text; no gradient.

    Args:
        boxes: f32 (N,4), N > 0, clipped to the image.
        scores: f32 (N,C), without a background column; only pairs above `score_threshold` are candidates.
        most: at most this many are picked.
    """
    rules = {"soft": 1.0, "iou": 0.0, "sigma": float(sigma), "least": float(min_score), "split": float(split_threshold)}
    return _pick(boxes, scores, score_threshold, most, rules)


def hard_nms_of_classes(
    boxes: jt.Var, scores: jt.Var, score_threshold: float, most: int, iou_threshold: float
) -> Picks:
    """Hard NMS within each class of one image: boxes f32 (N,4), scores f32 (N,C), the rest as of `soft_nms`."""
    rules = {"soft": 0.0, "iou": float(iou_threshold), "sigma": 1.0, "least": 0.0, "split": 0.0}
    return _pick(boxes, scores, score_threshold, most, rules)


def _pick(boxes: jt.Var, scores: jt.Var, score_threshold: float, most: int, rules: dict[str, float]) -> Picks:
    number, classes = scores.shape
    kept = (min(most, number * classes),)
    working = [(classes, number), (classes, 2), (2,)] if jt.flags.use_cuda else [(1, 1), (1, 1), (1,)]
    rows, labels, decayed, count, *_ = jt.code(
        [kept, kept, kept, (1,), *working],
        ["int32", "int32", "float32", "int32", "float32", "int32", "int32"],
        [boxes.detach(), scores.detach()],
        data={"score": float(score_threshold), **rules},
        **kernel(__file__, PICK),
    )
    return Picks(rows, labels, decayed, count)
