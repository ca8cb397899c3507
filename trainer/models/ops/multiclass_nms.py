"""From scores of every box for every class to an image's detections: mmdet's multiclass_nms.

    boxes (N,4), scores (N,C)  ─ score > score_thr ─ NMS within each class ─ best `max_per_img` ─►  Picks

The kind of NMS is the config's dict, ``dict(type='nms', iou_threshold=0.5)`` or ``dict(type='soft_nms',
method='gaussian', sigma=0.5, min_score=1e-3)``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from shared.keys import check_type
from trainer.device import jt
from trainer.models.ops.soft_nms import SPLIT_THRESHOLD, Picks, hard_nms_of_classes, soft_nms
from trainer.models.registry import read, require

MulticlassNMS = Callable[[jt.Var, jt.Var], Picks]


def read_multiclass_nms(test_cfg: dict, where: str) -> MulticlassNMS:
    """The suppression that a test_cfg.rcnn asks for, as a function of boxes f32 (N,4) and scores f32 (N,C).

    Args:
        test_cfg: with the keys `score_thr`, `max_per_img` and `nms`.
        where: its name in the config, for messages.

    Raises:
        UserError: an unknown kind, a key that the kind has not, soft-NMS by another method than 'gaussian'.
    """
    config, where = test_cfg["nms"], f"{where}.nms"
    kind = check_type(where, config.get("type", "nms"), ("nms", "soft_nms"))
    limits = {"score_threshold": test_cfg["score_thr"], "most": test_cfg["max_per_img"]}
    if kind == "nms":
        rules = read(config, where, ("iou_threshold",), type=kind)
        return partial(hard_nms_of_classes, iou_threshold=rules["iou_threshold"], **limits)
    # `iou_threshold` means nothing to the Gaussian; the reference's configs still set it.
    rules = read(
        config,
        where,
        ("method",),
        type=kind,
        iou_threshold=None,
        sigma=0.5,
        min_score=1e-3,
        split_thr=SPLIT_THRESHOLD,
    )
    require(rules["method"], "gaussian", f"{where}.method")
    return partial(
        soft_nms,
        sigma=rules["sigma"],
        min_score=rules["min_score"],
        split_threshold=rules["split_thr"],
        **limits,
    )
