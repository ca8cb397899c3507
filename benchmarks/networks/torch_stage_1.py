"""The heads of stage 1 in PyTorch, on MMDetection's assigners, samplers, coders, losses and NMS, in its ways.

MMDetection 3 has no OLN heads. These do what mmdet's own heads do, image by image and level by level: targets of every
anchor, losses over all of them with weights.
"""

from __future__ import annotations

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.utils import images_to_levels
from mmdet.registry import TASK_UTILS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.networks.torch_roi import BBoxHead, Sampled


class OlnRPN(RPNHead):
    """mmdet's RPNHead with a third branch, objectness, and an assignment of its own for it."""

    def __init__(self, rules: dict, **config) -> None:
        for key in ("type", "objectness_type", "loss_objectness"):
            config.pop(key)
        rules = {**rules, "pos_weight": -1, "allowed_border": 0}
        for sampler in ("sampler", "objectness_sampler"):
            rules[sampler] = {**rules[sampler], "add_gt_as_proposals": False}
        super().__init__(**config, train_cfg=ConfigDict(rules))
        self.strict = (self.assigner, self.sampler)
        self.wide = tuple(TASK_UTILS.build(rules[f"objectness_{what}"]) for what in ("assigner", "sampler"))

    def _init_layers(self) -> None:
        super()._init_layers()
        self.rpn_obj = nn.Conv2d(self.feat_channels, 1, 1)

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = functional.normalize(functional.relu(self.rpn_conv(x)), p=2, dim=1)
        return self.rpn_cls(x), self.rpn_reg(x), self.rpn_obj(x)

    def level_anchors(self, levels: list[Tensor], images: int, size: tuple[int, int]) -> tuple[list, list]:
        """Anchors and flags of each level, for each image."""
        metas = [{"img_shape": size, "pad_shape": size}] * images
        return self.get_anchors([level.shape[-2:] for level in levels], metas, device=levels[0].device)

    def both_targets(self, levels: list[Tensor], truths: list[InstanceData], size: tuple[int, int]) -> tuple:
        """Anchors by level, then for each image the targets of mmdet and those of objectness, over all anchors."""
        anchors, flags = self.level_anchors(levels, len(truths), size)
        strict, wide = [], []
        for image, truth in enumerate(truths):
            every, valid = torch.cat(anchors[image]), torch.cat(flags[image])
            meta = {"img_shape": size}
            self.assigner, self.sampler = self.strict
            strict.append(self._get_targets_single(every, valid, truth, meta))
            self.assigner, self.sampler = self.wide
            _, weights, boxes, positive, *_ = self._get_targets_single(every, valid, truth, meta)
            quality = centerness(every, boxes) * (positive[:, 0] > 0)
            wide.append((quality, weights))
        return anchors, strict, wide

    def losses(self, outputs: tuple, truths: list[InstanceData], size: tuple[int, int]) -> dict[str, Tensor]:
        classes, codes, objectness = outputs
        anchors, strict, wide = self.both_targets(classes, truths, size)
        counts = [len(level) for level in anchors[0]]
        samples = sum(max(len(target[4]), 1) + max(len(target[5]), 1) for target in strict)
        labels, label_weights, boxes, box_weights = (
            images_to_levels([target[i] for target in strict], counts) for i in range(4)
        )
        quality, quality_weights = (images_to_levels([target[i] for target in wide], counts) for i in range(2))
        levels = images_to_levels([torch.cat(image) for image in anchors], counts)
        terms = {"loss_rpn_cls": 0.0, "loss_rpn_bbox": 0.0, "loss_rpn_obj": 0.0}
        for i in range(len(counts)):
            logits = classes[i].permute(0, 2, 3, 1).reshape(-1, 1)
            terms["loss_rpn_cls"] += self.loss_cls(
                logits, labels[i].reshape(-1), label_weights[i].reshape(-1), avg_factor=samples
            )
            predicted = self.bbox_coder.decode(levels[i].reshape(-1, 4), codes[i].permute(0, 2, 3, 1).reshape(-1, 4))
            terms["loss_rpn_bbox"] += self.loss_bbox(
                predicted, boxes[i].reshape(-1, 4), box_weights[i].reshape(-1, 4), avg_factor=samples
            )
            predicted = objectness[i].permute(0, 2, 3, 1).reshape(-1).sigmoid()
            difference = (predicted - quality[i].reshape(-1)).abs() * quality_weights[i].reshape(-1)
            terms["loss_rpn_obj"] += difference.sum() / samples
        return terms

    @torch.no_grad()
    def proposals(self, outputs: tuple, best: int, size: tuple[int, int]) -> list[InstanceData]:
        """The `best` anchors of each level of each image by objectness."""
        _, codes, objectness = (tuple(level.detach() for level in branch) for branch in outputs)
        images = len(codes[0])
        anchors, _ = self.level_anchors(codes, images, size)
        found = []
        for image in range(images):
            boxes, scores = [], []
            for level, prior in enumerate(anchors[image]):
                score = objectness[level][image].reshape(-1).sigmoid()
                code = codes[level][image].permute(1, 2, 0).reshape(-1, 4)
                if len(score) > best:
                    score, order = score.sort(descending=True)
                    score, code, prior = score[:best], code[order[:best]], prior[order[:best]]
                boxes.append(self.bbox_coder.decode(prior, code, max_shape=size))
                scores.append(score)
            found.append(InstanceData(priors=torch.cat(boxes), scores=torch.cat(scores)))
        return found


def centerness(anchors: Tensor, boxes: Tensor) -> Tensor:
    """How central an anchor's centre is in its box, 0 outside."""
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    low, high = centre - boxes[:, :2], boxes[:, 2:] - centre
    ratio = torch.minimum(low, high).clamp(min=0) / (torch.maximum(low, high) + 1e-12)
    return ratio.prod(1).clamp(min=0).sqrt()


class ScoreHead(BBoxHead):
    """Shared2FCBBoxScoreHead."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        width, inputs = config["fc_out_channels"], config["in_channels"] * config["roi_feat_size"] ** 2
        self.shared_fcs = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width)])
        self.fc_cls, self.fc_reg, self.fc_bbox_score = nn.Linear(width, 2), nn.Linear(width, 4), nn.Linear(width, 1)
        self.alpha = config["alpha"]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = features.flatten(1)
        for layer in self.shared_fcs:
            x = functional.relu(layer(x))
        return self.fc_cls(x), self.fc_reg(x), self.fc_bbox_score(x)

    def losses(self, outputs: tuple, sampled: Sampled) -> dict[str, Tensor]:
        classes, deltas, scores = outputs
        count = len(classes)
        overlaps = scores.new_zeros(count)
        overlaps[sampled.positive] = aligned_overlaps(sampled.boxes[sampled.positive], sampled.truths)
        difference = (scores.reshape(-1).sigmoid() - overlaps).abs()[sampled.positive]
        return {
            "loss_cls": functional.cross_entropy(classes, sampled.labels),
            "loss_bbox": self.box_loss(deltas, sampled),
            "loss_bbox_score": difference.sum() / count,
        }

    def scores(self, outputs: tuple, objectness: Tensor) -> Tensor:
        classes, _, scores = outputs
        objects = classes.softmax(1)[:, :1]
        located = objectness[:, None] * scores.sigmoid()
        objects = objects**self.alpha * located ** (1 - self.alpha)
        return torch.cat([objects, torch.zeros_like(objects)], 1)


def aligned_overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of matching rows."""
    from mmdet.structures.bbox import bbox_overlaps

    return bbox_overlaps(boxes, others, is_aligned=True)
