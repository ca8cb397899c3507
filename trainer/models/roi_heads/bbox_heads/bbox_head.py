"""What box heads share: labels and box targets of sampled RoIs, the class-agnostic box loss, the accuracy monitor."""

from __future__ import annotations

from trainer.device import jt, nn
from trainer.models.registry import build
from trainer.models.roi_heads.standard_roi_head import SampledRoIs


class BBoxHead(nn.Module):
    """Base of the box heads; boxes are refined by four deltas per RoI, whatever the class.

    Attributes:
        num_classes: foreground classes; this number is also the background's label.
        coder: turns deltas into boxes.
    """

    def __init__(self, num_classes: int, bbox_coder: dict, loss_bbox: dict, where: str) -> None:
        self.num_classes = num_classes
        self.coder = build(bbox_coder, f"{where}.bbox_coder")
        self.loss_bbox = build(loss_bbox, f"{where}.loss_bbox")

    def box_loss(self, deltas: jt.Var, sampled: SampledRoIs, normaliser: jt.Var) -> jt.Var:
        """Loss f32 (1,) of `deltas` f32 (B·K,4) over positives, divided by the number of all sampled RoIs."""
        targets = self.coder.encode(sampled.boxes, sampled.truths)
        weights = sampled.samples.positive.unsqueeze(-1).broadcast(targets.shape)
        return self.loss_bbox(deltas, targets.reshape(-1, 4), weights.reshape(-1, 4), normaliser)


def accuracy(logits: jt.Var, labels: jt.Var, weights: jt.Var) -> jt.Var:
    """Percentage of rows whose largest logit is their label; logits f32 (R,C), labels i32 (R,), weights f32 (R,)."""
    hits = (logits.argmax(1)[0] == labels).float32()
    return (hits * weights).sum() / jt.maximum(weights.sum(), 1.0) * 100.0
