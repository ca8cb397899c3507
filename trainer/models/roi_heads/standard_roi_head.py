"""The second stage of a two-stage detector: proposals in, scored and refined boxes out.

Training, for a batch with P proposals per image:

    ground truths (G) ─┐                 ┌─ slots (K per image): positives, then negatives
    proposals (P) ─────┴─ assign, sample ┴─► RoIs (B·K,5) ─ RoIAlign ─ bbox head ─ losses

Every ground truth is a candidate, assigned to itself. Slots that stay empty hold some candidate with weight 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.batch import Batch
from trainer.device import jt, nn
from trainer.models.boxes.columns import gather_rows
from trainer.models.boxes.sample import Samples
from trainer.models.registry import build, read, register, require


def to_rois(boxes: jt.Var) -> jt.Var:
    """Boxes f32 (B,K,4) -> RoIs f32 (B·K,5) with the image index in front."""
    image = jt.index((boxes.shape[0], boxes.shape[1], 1), 0).float32()
    return jt.concat([image, boxes], -1).reshape(-1, 5)


@dataclass
class SampledRoIs:
    """The RoIs of a training step.

    Attributes:
        boxes: f32 (B,K,4).
        truths: f32 (B,K,4), the ground truth of each positive; elsewhere some ground truth or padding.
        labels: i32 (B,K), the class of each positive; elsewhere `num_classes`, the background.
        samples: positives, weights and counts of the slots.
    """

    boxes: jt.Var
    truths: jt.Var
    labels: jt.Var
    samples: Samples


@register
class StandardRoIHead(nn.Module):
    """mmdet's StandardRoIHead. `train_cfg` and `test_cfg` are the detector's for `rcnn`."""

    def __init__(
        self,
        bbox_roi_extractor: dict,
        bbox_head: dict,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        where: str = "roi_head",
    ) -> None:
        rules = read(train_cfg, "model.train_cfg.rcnn", ("assigner", "sampler"), pos_weight=-1, debug=False)
        require(rules["pos_weight"], -1, "model.train_cfg.rcnn.pos_weight")
        self.assigner = build(rules["assigner"], "model.train_cfg.rcnn.assigner")
        self.sampler = build(rules["sampler"], "model.train_cfg.rcnn.sampler")
        require(self.sampler.add_gt_as_proposals, True, "model.train_cfg.rcnn.sampler.add_gt_as_proposals")
        self.roi_extractor = build(bbox_roi_extractor, f"{where}.bbox_roi_extractor")
        self.bbox_head = build(bbox_head, f"{where}.bbox_head")
        self.test_cfg = read(test_cfg, "model.test_cfg.rcnn", ("score_thr", "nms", "max_per_img"))

    def sample(self, proposals: jt.Var, batch: Batch) -> SampledRoIs:
        """Choose the RoIs to train on from `proposals` f32 (B,P,4 or 5)."""
        images, slots = batch.labels.shape
        proposals = proposals[:, :, :4]
        assigned = self.assigner(
            proposals, jt.ones((images, proposals.shape[1]), "bool"), batch.boxes, batch.box_counts
        )
        truth = jt.index((images, slots), 1)
        themselves = jt.ternary(truth < batch.box_counts.unsqueeze(1), truth + 1, -1)
        candidates = jt.concat([batch.boxes, proposals], 1)
        samples = self.sampler(jt.concat([themselves, assigned], 1))

        background = self.bbox_head.num_classes
        return SampledRoIs(
            boxes=gather_rows(candidates, samples.index),
            truths=gather_rows(batch.boxes, samples.truth),
            labels=jt.ternary(samples.positive > 0, gather_rows(batch.labels, samples.truth), background),
            samples=samples,
        )

    def loss(self, maps: list[jt.Var], proposals: jt.Var, batch: Batch) -> dict[str, jt.Var]:
        """Loss terms f32 (1,) and monitors."""
        sampled = self.sample(proposals, batch)
        outputs = self.bbox_head(self.roi_extractor(maps, to_rois(sampled.boxes)))
        terms = self.bbox_head.loss(outputs, sampled)
        return {**terms, "num_positive_rois": sampled.samples.positives.sum()}
