"""The second stage in PyTorch, as mmdet's StandardRoIHead works: assign and sample each image, then one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from mmdet.models.layers import multiclass_nms
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn


@dataclass
class Sampled:
    """RoIs of all images: rois f32 (R,5), boxes f32 (R,4), labels i64 (R,), which are positive, and their truths."""

    rois: Tensor
    boxes: Tensor
    labels: Tensor
    positive: Tensor
    truths: Tensor


class BBoxHead(nn.Module):
    """What the heads of both stages share."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.coder = TASK_UTILS.build(config["bbox_coder"])

    def box_loss(self, deltas: Tensor, sampled: Sampled) -> Tensor:
        targets = self.coder.encode(sampled.boxes[sampled.positive], sampled.truths)
        return (deltas[sampled.positive] - targets).abs().sum() / len(deltas)


class RoIHead(nn.Module):
    """Extractor, optional shared head, box head."""

    def __init__(self, config: dict, train_cfg: dict, test_cfg: dict, shared_head: nn.Module, head: BBoxHead) -> None:
        super().__init__()
        self.roi_extractor = MODELS.build(ConfigDict(config["bbox_roi_extractor"]))
        self.shared_head, self.bbox_head = shared_head, head
        self.assigner = TASK_UTILS.build(train_cfg["assigner"])
        self.sampler = TASK_UTILS.build(train_cfg["sampler"])
        self.background = config["bbox_head"]["num_classes"]
        self.test_cfg = ConfigDict(test_cfg)

    @torch.no_grad()
    def sample(self, proposals: list[InstanceData], truths: list[InstanceData]) -> Sampled:
        results = []
        for proposal, truth in zip(proposals, truths, strict=True):
            proposal = InstanceData(priors=proposal.priors)
            assigned = self.assigner.assign(proposal, truth, None)
            results.append(self.sampler.sample(assigned, proposal, truth))
        labels, positive = [], []
        for result in results:
            negatives = len(result.neg_inds)
            labels += [result.pos_gt_labels, result.pos_gt_labels.new_full((negatives,), self.background)]
            ones = torch.ones_like(result.pos_inds, dtype=torch.bool)
            positive += [ones, torch.zeros_like(result.neg_inds, dtype=torch.bool)]
        return Sampled(
            bbox2roi([result.priors for result in results]),
            torch.cat([result.priors for result in results]),
            torch.cat(labels),
            torch.cat(positive),
            torch.cat([result.pos_gt_bboxes for result in results]),
        )

    def extract(self, maps: list[Tensor], rois: Tensor) -> Tensor:
        return self.roi_extractor(maps[: self.roi_extractor.num_inputs], rois)

    def losses(self, maps: list[Tensor], proposals: list[InstanceData], truths: list[InstanceData]) -> dict:
        sampled = self.sample(proposals, truths)
        return self.bbox_head.losses(self.bbox_head(self.shared_head(self.extract(maps, sampled.rois))), sampled)

    @torch.no_grad()
    def scored_boxes(self, maps: list[Tensor], proposals: InstanceData, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Boxes (P,4) and scores (P,C+1) of one image."""
        rois = bbox2roi([proposals.priors])
        outputs = self.bbox_head(self.shared_head(self.extract(maps, rois)))
        boxes = self.bbox_head.coder.decode(proposals.priors, outputs[1], max_shape=size)
        return boxes, self.bbox_head.scores(outputs, proposals.scores)

    @torch.no_grad()
    def suppress(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        rules = self.test_cfg
        return multiclass_nms(boxes, scores, rules.score_thr, rules.nms, rules.max_per_img)
