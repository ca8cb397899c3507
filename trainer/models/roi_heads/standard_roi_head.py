"""The second stage of a two-stage detector: proposals in, scored and refined boxes out.

Training, for a batch with P proposals per image:

    ground truths (G) ─┐                 ┌─ slots (K per image): positives, then negatives
    proposals (P) ─────┴─ assign, sample ┴─► RoIs (B·K,5) ─ RoIAlign ─ (shared head) ─ bbox head ─ losses

Every ground truth is a candidate, assigned to itself. Slots that stay empty hold some candidate with weight 0.

Evaluation, image by image:

    proposals (P) ─ RoIAlign ─ (shared head) ─ bbox head ─ boxes (P,4), scores (P,C) ─ NMS within classes ─ detections

Proposals are f32 (B,P,5); a row with a negative score holds no proposal (ABSENT, see the region proposal head).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.batch import Batch
from trainer.device import jt, nn
from trainer.models.boxes.columns import gather_rows
from trainer.models.boxes.sample import Samples
from trainer.models.detections import Detections, Found
from trainer.models.detections import read as read_detections
from trainer.models.ops.multiclass_nms import read_multiclass_nms
from trainer.models.ops.random_keys import Draw, Use
from trainer.models.precision import in_type, raised
from trainer.models.registry import build, read, register, require

Reading = Callable[[jt.Var], jt.Var]  # scores of every box for every class -> what counts as them


def as_they_are(scores: jt.Var) -> jt.Var:
    """The reading that a detector's detections come from: scores f32 (1,P,C), unchanged."""
    return scores


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
        dataset_ids: i32 (B,) on the host, which data set each image is from.
        class_draw: of the classes, where the head's loss draws some.
    """

    boxes: jt.Var
    truths: jt.Var
    labels: jt.Var
    samples: Samples
    dataset_ids: np.ndarray
    class_draw: Draw


@register
class StandardRoIHead(nn.Module):
    """mmdet's StandardRoIHead. `train_cfg` and `test_cfg` are the detector's for `rcnn`."""

    def __init__(
        self,
        bbox_roi_extractor: dict,
        bbox_head: dict,
        shared_head: dict | None = None,
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
        self.shared_head = build(shared_head, f"{where}.shared_head") if shared_head else nn.Identity()
        self.bbox_head = build(bbox_head, f"{where}.bbox_head")
        self.test_cfg = read(test_cfg, "model.test_cfg.rcnn", ("score_thr", "nms", "max_per_img"))
        self.multiclass_nms = read_multiclass_nms(self.test_cfg, "model.test_cfg.rcnn")

    def features(self, maps: list[jt.Var], boxes: jt.Var) -> jt.Var:
        """What the box head sees of `boxes` f32 (B,K,4): f32 (B·K,C,h,w)."""
        features = self.roi_extractor([raised(one) for one in maps], to_rois(boxes))
        if isinstance(self.shared_head, nn.Identity):
            return features
        return raised(self.shared_head(in_type(features, maps[0].dtype)))

    def sample(self, proposals: jt.Var, batch: Batch) -> SampledRoIs:
        """Choose the RoIs to train on from `proposals` f32 (B,P,5)."""
        images, slots = batch.labels.shape
        present, proposals = proposals[:, :, 4] >= 0, proposals[:, :, :4]
        assigned = self.assigner(proposals, present, batch.boxes, batch.box_counts)
        truth = jt.index((images, slots), 1)
        themselves = jt.ternary(truth < batch.box_counts.unsqueeze(1), truth + 1, -1)
        candidates = jt.concat([batch.boxes, proposals], 1)
        samples = self.sampler(jt.concat([themselves, assigned], 1), Draw(batch.seed, batch.step, Use.ROIS))

        background = self.bbox_head.num_classes
        return SampledRoIs(
            boxes=gather_rows(candidates, samples.index),
            truths=gather_rows(batch.boxes, samples.truth),
            labels=jt.ternary(samples.positive > 0, gather_rows(batch.labels, samples.truth), background),
            samples=samples,
            dataset_ids=batch.host["dataset_ids"],
            class_draw=Draw(batch.seed, batch.step, Use.CLASSES),
        )

    def loss(self, maps: list[jt.Var], proposals: jt.Var, batch: Batch) -> dict[str, jt.Var]:
        """Loss terms f32 (1,) and monitors.

        Raises:
            UserError: see BBoxHead.check_labels.
        """
        self.bbox_head.check_labels(batch.host)
        sampled = self.sample(proposals, batch)
        outputs = self.bbox_head(self.features(maps, sampled.boxes))
        terms = self.bbox_head.loss(outputs, sampled)
        return {**terms, "num_positive_rois": sampled.samples.positives.sum()}

    def scored_boxes(self, maps: list[jt.Var], proposals: jt.Var, image_shapes: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Every proposal refined and scored, before NMS.

        Args:
            proposals: f32 (B,P,5).
            image_shapes: f32 (B,2).

        Returns:
            boxes f32 (B,P,4) in pixels of the resized image, clipped; scores, those of the box head's `detections`.
        """
        outputs = self.bbox_head(self.features(maps, proposals[:, :, :4]))
        return self.bbox_head.detections(outputs.reshape(*proposals.shape[:2]), proposals, image_shapes)

    def predict(
        self, maps: list[jt.Var], proposals: jt.Var, image_shapes: jt.Var, scale_factors: jt.Var
    ) -> list[Detections]:
        """Detections of each image.

        Args:
            proposals, image_shapes: as of `scored_boxes`.
            scale_factors: f32 (B,4), what boxes are divided by to be in pixels of the original image.
        """
        return self.predict_readings(maps, proposals, image_shapes, scale_factors, (as_they_are,))[0]

    def predict_readings(
        self,
        maps: list[jt.Var],
        proposals: jt.Var,
        image_shapes: jt.Var,
        scale_factors: jt.Var,
        readings: Sequence[Reading],
    ) -> list[list[Detections]]:
        """The same for each reading of the scores.

        Args:
            proposals, image_shapes, scale_factors: as of `predict`.
            readings: functions of all scores of an image, f32 (1,P,C), or (1,P) where the box head has no classes.
        """
        found: list[Found] = []
        packed: list[jt.Var] = []
        for i in range(proposals.shape[0]):
            one = (x[i : i + 1] for x in (proposals, image_shapes, scale_factors, *maps))
            found += self._find_in_image(readings, *one)
            if jt.flags.use_cuda:  # the CPU would compile kernels for it, and gain nothing
                packed += [each.packed() for each in found[len(packed) :]]
            # One image at a time bounds the memory: all proposals' RoI features of an image are alive at once. A GPU
            # is not waited for.
            jt.sync_all()
        detections = read_detections(found, packed)
        return [detections[i :: len(readings)] for i in range(len(readings))]

    def _find_in_image(
        self,
        readings: Sequence[Reading],
        proposals: jt.Var,
        image_shapes: jt.Var,
        scale_factors: jt.Var,
        *maps: jt.Var,
    ) -> list[Found]:
        boxes, scores = self.scored_boxes(list(maps), proposals, image_shapes)
        boxes = boxes / scale_factors.unsqueeze(1)
        return [self.suppress(boxes, reading(scores)) for reading in readings]

    def suppress(self, boxes: jt.Var, scores: jt.Var) -> Found:
        """What is left in one image of all its boxes f32 (1,P,4) with scores f32 (1,P,C)."""
        boxes = boxes.squeeze(0)
        picks = self.multiclass_nms(boxes, scores.squeeze(0))
        return Found(boxes, picks.rows, picks.labels, picks.scores, picks.count)
