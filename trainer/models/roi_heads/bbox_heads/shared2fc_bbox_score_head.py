"""Box head of stage 1: two shared fully connected layers and three answers about a RoI.

    RoI features (C,7,7) ─ fc ─ ReLU ─ fc ─ ReLU ─┬─ fc_cls (2)          object or background (softmax)
                                                  ├─ fc_reg (4)          deltas
                                                  └─ fc_bbox_score (1)   IoU of the RoI with its object (sigmoid)

UniDetector's Shared2FCBBoxScoreHead; OLN's box head with the class branch back in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.errors import UserError
from trainer.device import jt, nn
from trainer.models.boxes.coders import centerness
from trainer.models.boxes.columns import clip
from trainer.models.boxes.overlaps import aligned_iou
from trainer.models.layers import init_normal, relu
from trainer.models.registry import build, register, require
from trainer.models.roi_heads.bbox_heads.bbox_head import BBoxHead, accuracy
from trainer.models.roi_heads.standard_roi_head import SampledRoIs
from trainer.models.values import Count, Share


@dataclass
class Outputs:
    """What the head says about R RoIs: logits f32 (R,2), deltas f32 (R,4), score logits f32 (R,1)."""

    classes: jt.Var
    deltas: jt.Var
    scores: jt.Var

    def reshape(self, *shape: int) -> Outputs:
        """The same with `shape` in place of R."""
        return Outputs(*(x.reshape(*shape, x.shape[-1]) for x in (self.classes, self.deltas, self.scores)))


@register
class Shared2FCBBoxScoreHead(BBoxHead):
    """See the module's text.

    Args:
        fc_out_channels: width of both shared layers.
        bbox_score_type: target of the score, 'BoxIoU' or 'Centerness'.
        alpha: the class's share in a detection's score; 0 is pure OLN.
    """

    def __init__(
        self,
        in_channels: Count,
        fc_out_channels: Count,
        roi_feat_size: Count,
        num_classes: Count,
        bbox_coder: dict,
        loss_cls: dict,
        loss_bbox: dict,
        loss_bbox_score: dict,
        bbox_score_type: str = "BoxIoU",
        alpha: Share = 0.3,
        reg_class_agnostic: bool = False,  # noqa: ARG002 - the same thing with one class
        where: str = "bbox_head",
    ) -> None:
        require(num_classes, 1, f"{where}.num_classes")
        super().__init__(num_classes, bbox_coder, loss_bbox, where)
        if bbox_score_type not in ("BoxIoU", "Centerness"):
            raise UserError(f"{where}.bbox_score_type: 'BoxIoU' or 'Centerness' is expected, found {bbox_score_type!r}")
        self.bbox_score_type = bbox_score_type
        self.alpha = float(alpha)
        self.loss_cls = build(loss_cls, f"{where}.loss_cls")
        self.loss_bbox_score = build(loss_bbox_score, f"{where}.loss_bbox_score")
        self.shared_fcs = nn.ModuleList(
            [nn.Linear(in_channels * roi_feat_size**2, fc_out_channels), nn.Linear(fc_out_channels, fc_out_channels)]
        )
        self.fc_cls = nn.Linear(fc_out_channels, num_classes + 1)
        self.fc_reg = nn.Linear(fc_out_channels, 4)
        self.fc_bbox_score = nn.Linear(fc_out_channels, 1)
        for layer in self.shared_fcs:  # Xavier, normal
            init_normal(layer, math.sqrt(2.0 / sum(layer.weight.shape)))
        for layer, std in ((self.fc_cls, 0.01), (self.fc_reg, 0.001), (self.fc_bbox_score, 0.01)):
            init_normal(layer, std)

    def execute(self, features: jt.Var) -> Outputs:
        """RoI features f32 (R,C,7,7)."""
        x = features.reshape(features.shape[0], -1)
        for layer in self.shared_fcs:
            x = relu(layer(x))
        return Outputs(self.fc_cls(x), self.fc_reg(x), self.fc_bbox_score(x))

    def score_targets(self, sampled: SampledRoIs) -> jt.Var:
        """What the score of each positive should be, f32 (B,K)."""
        target = aligned_iou if self.bbox_score_type == "BoxIoU" else centerness
        return target(sampled.boxes, sampled.truths)

    def loss(self, outputs: Outputs, sampled: SampledRoIs) -> dict[str, jt.Var]:
        """Loss terms f32 (1,), each divided by the number of sampled RoIs, and the accuracy in percent."""
        weights, labels = sampled.samples.weight.reshape(-1), sampled.labels.reshape(-1)
        normaliser = jt.maximum(weights.sum(), 1.0)
        return {
            "loss_cls": self.loss_cls(outputs.classes, labels, weights, normaliser),
            "loss_bbox": self.box_loss(outputs.deltas, sampled, normaliser),
            "loss_bbox_score": self.loss_bbox_score(
                outputs.scores.reshape(-1).sigmoid(),
                self.score_targets(sampled).reshape(-1),
                sampled.samples.positive.reshape(-1),
                normaliser,
            ),
            "acc": accuracy(outputs.classes.detach(), labels, weights),
        }

    def detections(self, outputs: Outputs, proposals: jt.Var, image_shapes: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Refined boxes f32 (B,P,4), clipped, and scores f32 (B,P).

        Args:
            outputs: for (B,P) RoIs.
            proposals: f32 (B,P,5), boxes with the RPN's objectness.
            image_shapes: f32 (B,2).
        """
        boxes = clip(self.coder.decode(proposals[:, :, :4], outputs.deltas), image_shapes)
        logits = outputs.classes
        # Softmax of two columns: the first one's share is the sigmoid of the difference.
        objects = (logits[:, :, 0] - logits[:, :, 1]).sigmoid()
        located = proposals[:, :, 4] * outputs.scores.squeeze(-1).sigmoid()
        return boxes, jt.pow(objects, self.alpha) * jt.pow(located, 1.0 - self.alpha)
