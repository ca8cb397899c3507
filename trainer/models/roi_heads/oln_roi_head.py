"""The second stage of stage 1 (OLN): a StandardRoIHead whose detections also depend on the RPN's objectness."""

from __future__ import annotations

from trainer.device import jt
from trainer.models.detections import Found
from trainer.models.ops.nms import nms
from trainer.models.registry import register, require
from trainer.models.roi_heads.standard_roi_head import StandardRoIHead


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
        super().__init__(bbox_roi_extractor, bbox_head, None, train_cfg, test_cfg, where)
        require(self.test_cfg["nms"].get("type", "nms"), "nms", "model.test_cfg.rcnn.nms.type")
        self.iou_threshold = float(self.test_cfg["nms"]["iou_threshold"])

    def suppress(self, boxes: jt.Var, scores: jt.Var) -> Found:
        """What is left in one image of all its boxes f32 (1,P,4) with scores f32 (1,P)."""
        kept, count = nms(boxes, scores, self.iou_threshold, self.test_cfg["score_thr"], self.test_cfg["max_per_img"])
        return Found(boxes.squeeze(0), kept.squeeze(0), None, scores.squeeze(0), count)
