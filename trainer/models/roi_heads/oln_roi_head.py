"""The second stage of stage 1 (OLN): a StandardRoIHead whose detections also depend on the RPN's objectness."""

from __future__ import annotations

import numpy as np

from trainer.device import jt
from trainer.models.detections import Detections
from trainer.models.ops.nms import nms
from trainer.models.registry import read, register, require
from trainer.models.roi_heads.standard_roi_head import StandardRoIHead, to_rois


@register
class OlnRoIHead(StandardRoIHead):
    """UniDetector's OlnRoIHead: one class, score = class^alpha · (objectness · predicted IoU)^(1 - alpha), hard NMS."""

    def __init__(
        self,
        bbox_roi_extractor: dict,
        bbox_head: dict,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        where: str = "roi_head",
    ) -> None:
        super().__init__(bbox_roi_extractor, bbox_head, train_cfg, test_cfg, where)
        suppression = read(self.test_cfg["nms"], "model.test_cfg.rcnn.nms", ("iou_threshold",), type="nms")
        require(suppression["type"], "nms", "model.test_cfg.rcnn.nms.type")
        self.iou_threshold = float(suppression["iou_threshold"])

    def scored_boxes(self, maps: list[jt.Var], proposals: jt.Var, image_shapes: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Every proposal refined and scored, before NMS.

        Args:
            proposals: f32 (B,P,5) with the RPN's score.
            image_shapes: f32 (B,2).

        Returns:
            boxes f32 (B,P,4) in pixels of the resized image, clipped; scores f32 (B,P).
        """
        outputs = self.bbox_head(self.roi_extractor(maps, to_rois(proposals[:, :, :4])))
        return self.bbox_head.detections(outputs.reshape(*proposals.shape[:2]), proposals, image_shapes)

    def predict(
        self, maps: list[jt.Var], proposals: jt.Var, image_shapes: jt.Var, scale_factors: jt.Var
    ) -> list[Detections]:
        """Detections of each image.

        Args:
            scale_factors: f32 (B,4), what boxes are divided by to be in pixels of the original image.
        """
        return [
            # One image at a time bounds the memory: all proposals' RoI features of an image are alive at once.
            self._predict_image(*(x[image : image + 1] for x in (proposals, image_shapes, scale_factors, *maps)))
            for image in range(proposals.shape[0])
        ]

    def _predict_image(
        self, proposals: jt.Var, image_shapes: jt.Var, scale_factors: jt.Var, *maps: jt.Var
    ) -> Detections:
        boxes, scores = self.scored_boxes(list(maps), proposals, image_shapes)
        boxes, scores = (boxes / scale_factors.unsqueeze(1)).squeeze(0), scores.squeeze(0)
        kept, count = nms(boxes, scores, self.iou_threshold, self.test_cfg["score_thr"], self.test_cfg["max_per_img"])
        kept = kept.numpy()[: count.item()]
        return Detections(boxes.numpy()[kept], scores.numpy()[kept], np.zeros(len(kept), np.int32))
