"""Faster R-CNN: backbone, pyramid, region proposals and box head as one network.

    Batch ─ preprocessor ─ backbone ─ (neck) ─┬─ rpn_head ── proposals (no gradient) ─┐
                                              └──────────────── roi_head ◄────────────┘

Stage 1 of UniDetector is one (OLN heads on a pyramid), its end-to-end variant another (CLIP heads on C4, no neck).

Ren et al., "Faster R-CNN"; mmdet's FasterRCNN.
"""

from __future__ import annotations

from trainer.batch import Batch
from trainer.device import jt
from trainer.models.detectors.two_stage import TwoStageDetector
from trainer.models.registry import build, read, register


@register
class FasterRCNN(TwoStageDetector):
    """Built from a config's `model` dict, see trainer.models.build_detector."""

    def __init__(
        self,
        data_preprocessor: dict,
        backbone: dict,
        rpn_head: dict,
        roi_head: dict,
        train_cfg: dict,
        test_cfg: dict,
        neck: dict | None = None,
        where: str = "model",
    ) -> None:
        train_cfg = read(train_cfg, f"{where}.train_cfg", ("rpn", "rpn_proposal", "rcnn"))
        test_cfg = read(test_cfg, f"{where}.test_cfg", ("rpn", "rcnn"))
        super().__init__(data_preprocessor, backbone, neck, roi_head, (train_cfg["rcnn"], test_cfg["rcnn"]), where)
        self.rpn_head = build(
            rpn_head,
            f"{where}.rpn_head",
            train_cfg=train_cfg["rpn"],
            proposal_cfg=train_cfg["rpn_proposal"],
            test_cfg=test_cfg["rpn"],
        )

    def loss(self, batch: Batch) -> dict[str, jt.Var]:
        maps, batch = self.extract_in_training(batch)
        predictions = self.rpn_head(maps)
        proposals = self.rpn_head.proposals(predictions, batch.image_shapes, "train")
        return {**self.rpn_head.loss(predictions, batch), **self.roi_head.loss(maps, proposals, batch)}

    def proposals(self, maps: list[jt.Var], batch: Batch) -> jt.Var:
        return self.rpn_head.proposals(self.rpn_head(maps), batch.image_shapes, "test")
