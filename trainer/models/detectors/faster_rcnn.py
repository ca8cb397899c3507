"""Faster R-CNN: backbone, pyramid, region proposals and box head as one network. Stage 1 of UniDetector is one.

    Batch ─ preprocessor ─ backbone ─ neck ─┬─ rpn_head ── proposals (no gradient) ─┐
                                            └──────────────── roi_head ◄────────────┘

Ren et al., "Faster R-CNN"; mmdet's FasterRCNN.
"""

from __future__ import annotations

from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.models.detections import Detections
from trainer.models.registry import build, read, register


@register
class FasterRCNN(nn.Module):
    """Built from a config's `model` dict, see trainer.models.build_detector."""

    def __init__(
        self,
        data_preprocessor: dict,
        backbone: dict,
        neck: dict,
        rpn_head: dict,
        roi_head: dict,
        train_cfg: dict,
        test_cfg: dict,
        where: str = "model",
    ) -> None:
        train_cfg = read(train_cfg, f"{where}.train_cfg", ("rpn", "rpn_proposal", "rcnn"))
        test_cfg = read(test_cfg, f"{where}.test_cfg", ("rpn", "rcnn"))
        self.preprocessor = build(data_preprocessor, f"{where}.data_preprocessor")
        self.backbone = build(backbone, f"{where}.backbone")
        self.neck = build(neck, f"{where}.neck")
        self.rpn_head = build(
            rpn_head,
            f"{where}.rpn_head",
            train_cfg=train_cfg["rpn"],
            proposal_cfg=train_cfg["rpn_proposal"],
            test_cfg=test_cfg["rpn"],
        )
        self.roi_head = build(roi_head, f"{where}.roi_head", train_cfg=train_cfg["rcnn"], test_cfg=test_cfg["rcnn"])

    def extract(self, batch: Batch) -> list[jt.Var]:
        """The pyramid's maps f32 (B,C,H/stride,W/stride), fine to coarse."""
        return self.neck(self.backbone(self.preprocessor(batch.images, batch.image_shapes)))

    def loss(self, batch: Batch) -> dict[str, jt.Var]:
        """Terms f32 (1,) of one training step.

        Those whose names contain "loss" are to be added up and minimised; the others are monitors.
        """
        maps = self.extract(batch)
        predictions = self.rpn_head(maps)
        proposals = self.rpn_head.proposals(predictions, batch.image_shapes, "train")
        return {**self.rpn_head.loss(predictions, batch), **self.roi_head.loss(maps, proposals, batch)}

    def predict(self, batch: Batch) -> list[Detections]:
        """Detections of each image of the batch, boxes in pixels of the original images."""
        with jt.no_grad():
            maps = self.extract(batch)
            proposals = self.rpn_head.proposals(self.rpn_head(maps), batch.image_shapes, "test")
            return self.roi_head.predict(
                maps, proposals, batch.image_shapes, var(batch.host["scale_factors"], "float32")
            )
