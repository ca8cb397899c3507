"""The networks. A config's `model` dict becomes a detector here.

build_detector(config.model)  ->  detector.loss(batch)     training terms
                                  detector.predict(batch)  detections of each image
"""

from __future__ import annotations

from trainer.device import nn
from trainer.models import fit, losses
from trainer.models.backbones import backbone, clip_backbone, clip_vit, resnet, swin
from trainer.models.boxes import anchors, assign, coders, sample
from trainer.models.detections import Detections
from trainer.models.detectors import batch_augments, fast_rcnn, faster_rcnn, preprocessor
from trainer.models.heads import oln_rpn_head, rpn_head
from trainer.models.necks import fpn
from trainer.models.registry import build
from trainer.models.roi_heads import oln_roi_head, single_roi_extractor, standard_roi_head
from trainer.models.roi_heads.bbox_heads import (
    bbox_head_clip_inference,
    bbox_head_clip_partitioned,
    clip_bbox_head,
    shared2fc_bbox_score_head,
)
from trainer.models.roi_heads.shared_heads import clip_res_layer

__all__ = ["Detections", "build_detector"]

# Importing a module registers its classes.
REGISTERED = (
    anchors,
    assign,
    batch_augments,
    bbox_head_clip_inference,
    bbox_head_clip_partitioned,
    clip_backbone,
    clip_bbox_head,
    clip_res_layer,
    clip_vit,
    coders,
    fast_rcnn,
    faster_rcnn,
    fpn,
    losses,
    oln_roi_head,
    oln_rpn_head,
    preprocessor,
    resnet,
    rpn_head,
    sample,
    shared2fc_bbox_score_head,
    single_roi_extractor,
    standard_roi_head,
    swin,
)


def build_detector(model: dict) -> nn.Module:
    """The detector that a config's `model` dict describes, in MMDetection 3's words, with freshly drawn weights.

    Raises:
        UserError: a type or key that is unknown, missing, or not supported, or a value that is none for its key, by its
            full name; parts that do not fit each other.
    """
    backbone.bring_in(model)
    detector = build(model, "model")
    backbone.check(detector.backbone, model, detector.preprocessor.divisors)
    fit.check(detector, model)
    return detector
