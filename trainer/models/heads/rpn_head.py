"""The region proposal head: from feature maps to boxes that may hold an object, whatever its class.

    level map ─3x3 conv─ReLU─┬─ rpn_cls (A)    one logit per anchor: is there an object
                             └─ rpn_reg (4A)   dx, dy, dw, dh from each anchor

Proposals of an image, without gradient:

    anchors ─ best `nms_pre` of each level ─ decode, clip ─ drop empty boxes ─ NMS within levels ─ best `max_per_img`

Each image gets the same number of rows; rows behind its last proposal hold a box of zeros with score -1 (ABSENT).

Ren et al., "Faster R-CNN"; mmdet 2.18's RPNHead. Both losses are divided by the number of sampled anchors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.models.boxes.columns import clip, corners, gather_rows, pick_rows, product
from trainer.models.boxes.sample import Samples
from trainer.models.layers import Convolution, init_normal, relu
from trainer.models.ops.convolution import convolve
from trainer.models.ops.nms import batched_nms
from trainer.models.ops.random_keys import Draw, Use
from trainer.models.ops.top_k import top_k_of_levels
from trainer.models.precision import raised
from trainer.models.registry import build, read, register, require
from trainer.models.values import Count

ABSENT = -1.0  # the score of a row without a proposal; the score of a proposal is a sigmoid


@dataclass
class Predictions:
    """What the head says about every anchor of every image.

    Attributes:
        columns: f32 (B,A,D): class logit, four box codes, then whatever else the head predicts.
        sizes: (height, width) of each level; A is the sum of their products, times the anchors per cell.
    """

    columns: jt.Var
    sizes: list[tuple[int, int]]


@register
class RPNHead(nn.Module):
    """See the module's text. `train_cfg` and `test_cfg` are the detector's for `rpn`, `proposal_cfg` is its
    train_cfg.rpn_proposal.

    Attributes:
        strict_assigner, strict_sampler: which anchors the boxes and the classification are trained on.
        rules: what becomes of scored boxes, by phase ('train' or 'test'): the keys of train_cfg.rpn_proposal and
            test_cfg.rpn.
    """

    def __init__(
        self,
        in_channels: Count,
        feat_channels: Count,
        anchor_generator: dict,
        bbox_coder: dict,
        loss_cls: dict,
        loss_bbox: dict,
        train_cfg: dict | None = None,
        proposal_cfg: dict | None = None,
        test_cfg: dict | None = None,
        where: str = "rpn_head",
    ) -> None:
        self.anchor_generator = build(anchor_generator, f"{where}.anchor_generator")
        self.coder = build(bbox_coder, f"{where}.bbox_coder")
        require(loss_cls.get("use_sigmoid"), True, f"{where}.loss_cls.use_sigmoid")
        self.loss_cls = build(loss_cls, f"{where}.loss_cls")
        self.loss_bbox = build(loss_bbox, f"{where}.loss_bbox")
        self._read_training_rules(train_cfg, "model.train_cfg.rpn")
        self.rules = {
            "train": self._read_proposal_rules(proposal_cfg, "model.train_cfg.rpn_proposal"),
            "test": self._read_proposal_rules(test_cfg, "model.test_cfg.rpn"),
        }

        anchors = self.anchor_generator.anchors_per_cell
        self.rpn_conv = Convolution(in_channels, feat_channels, 3)
        self.rpn_cls = Convolution(feat_channels, anchors, 1)
        self.rpn_reg = Convolution(feat_channels, 4 * anchors, 1)
        for layer in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            init_normal(layer, 0.01)

    def _read_training_rules(self, config: dict | None, where: str, more: tuple[str, ...] = ()) -> dict:
        rules = read(config, where, ("assigner", "sampler", *more), allowed_border=0, pos_weight=-1, debug=False)
        require(rules["allowed_border"], 0, f"{where}.allowed_border")
        require(rules["pos_weight"], -1, f"{where}.pos_weight")
        self.strict_assigner = build(rules["assigner"], f"{where}.assigner")
        self.strict_sampler = build(rules["sampler"], f"{where}.sampler")
        return rules

    def _read_proposal_rules(self, config: dict | None, where: str) -> dict:
        rules = read(config, where, ("nms_pre", "nms", "max_per_img"), min_bbox_size=0)
        nms = read(rules["nms"], f"{where}.nms", ("iou_threshold",), type="nms")
        require(nms["type"], "nms", f"{where}.nms.type")
        return {**rules, "iou_threshold": nms["iou_threshold"]}

    def outputs(self) -> tuple[nn.Conv, ...]:
        """The 1x1 convolutions, in the order of their columns."""
        return (self.rpn_cls, self.rpn_reg)

    def features(self, level: jt.Var) -> jt.Var:
        """What the 1x1 convolutions see of a level's map, both (B,C,h,w)."""
        return relu(self.rpn_conv(level))

    def execute(self, maps: list[jt.Var]) -> Predictions:
        """Maps f32, f16 or bf16 (B,C,h,w), one per level, fine to coarse."""
        # One convolution instead of several (1x1 with few outputs is slow), its channels in groups of an anchor each.
        anchors = self.anchor_generator.anchors_per_cell
        weights = [layer.weight.reshape(anchors, -1, layer.weight.shape[1], 1, 1) for layer in self.outputs()]
        weight = jt.concat(weights, 1)
        columns = weight.shape[1]
        bias = jt.concat([layer.bias.reshape(anchors, -1) for layer in self.outputs()], 1).reshape(-1)
        weight = weight.reshape(-1, *weight.shape[2:])
        levels = [
            convolve(raised(self.features(level)), weight, bias).reshape(level.shape[0], anchors, columns, -1)
            for level in maps
        ]
        cells = jt.concat(levels, 3).transpose(0, 3, 1, 2)
        return Predictions(
            cells.reshape(cells.shape[0], -1, columns), [(level.shape[2], level.shape[3]) for level in maps]
        )

    def sample(self, anchors: jt.Var, inside: jt.Var, batch: Batch) -> tuple[Samples, jt.Var]:
        """Assign and sample the anchors f32 (A,4) of a batch, of which those `inside` bool (B,A) take part.

        Returns:
            The samples, and what both losses are divided by, f32 (1,): Σ over images of max(positives, 1) +
            max(negatives, 1).
        """
        assigned = self.strict_assigner(anchors.unsqueeze(0), inside, batch.boxes, batch.box_counts)
        samples = self.strict_sampler(assigned, Draw(batch.seed, batch.step, Use.STRICT_ANCHORS))
        return samples, (jt.maximum(samples.positives, 1.0) + jt.maximum(samples.negatives, 1.0)).sum()

    def box_targets(self, anchors: jt.Var, samples: Samples, batch: Batch) -> jt.Var:
        """What the box codes of the samples should be, f32 (B,K,4); only those of positives mean something."""
        return self.coder.encode(pick_rows(anchors, samples.index), gather_rows(batch.boxes, samples.truth))

    def loss(self, predictions: Predictions, batch: Batch) -> dict[str, jt.Var]:
        """Loss terms f32 (1,), summed over levels, and the number of positive anchors."""
        # An anchor inside the content is also inside the padded size: no separate flags for padding cells are needed.
        anchors, inside = self.anchor_generator(predictions.sizes, batch.image_shapes)
        samples, normaliser = self.sample(anchors, inside, batch)
        columns = gather_rows(predictions.columns, samples.index)
        deltas = self.box_targets(anchors, samples, batch)
        box_weights = samples.positive.unsqueeze(-1).broadcast(deltas.shape)
        return {
            # Class 0 is the object, so a positive's target is 1.
            "loss_rpn_cls": self.loss_cls(columns[:, :, 0], samples.positive, samples.weight, normaliser),
            "loss_rpn_bbox": self.loss_bbox(columns[:, :, 1:5], deltas, box_weights, normaliser),
            "num_positive_anchors": samples.positives.sum(),
        }

    def scored_boxes(self, predictions: Predictions, column: int, image_shapes: jt.Var, best: int) -> jt.Var:
        """The `best` anchors of each level by the logit in `column`, decoded and clipped; no gradient.

        Args:
            image_shapes: f32 (B,2), height and width that boxes are clipped to.

        Returns:
            f32 (B,P,5): x1,y1,x2,y2,score, the levels one behind the other. A level with more than `best` anchors is
            sorted by score, others stay in grid order.
        """
        logits = predictions.columns[:, :, column]
        index = top_k_of_levels(logits, self.anchor_generator.counts(predictions.sizes), best)
        columns = gather_rows(predictions.columns.detach(), index)
        anchors, _ = self.anchor_generator(predictions.sizes, image_shapes)
        boxes = clip(self.coder.decode(pick_rows(anchors, index), columns[:, :, 1:5]), image_shapes)
        return jt.concat([boxes, columns[:, :, column : column + 1].sigmoid()], -1)

    def proposals(self, predictions: Predictions, image_shapes: jt.Var, phase: str) -> jt.Var:
        """Proposals of each image by descending score; no gradient.

        Args:
            image_shapes: f32 (B,2), height and width that boxes are clipped to.
            phase: 'train' or 'test', whose rules hold.

        Returns:
            f32 (B,P,5): x1,y1,x2,y2,score; rows behind an image's last proposal are 0,0,0,0,ABSENT.
        """
        rules = self.rules[phase]
        table = self.scored_boxes(predictions, 0, image_shapes, rules["nms_pre"])
        low, high = corners(table[:, :, :4])
        large = product((high - low > rules["min_bbox_size"]).float32())
        # A dropped box has no coordinates either: the largest one decides how far levels are moved apart.
        boxes = table[:, :, :4] * large.unsqueeze(-1)
        scores = jt.ternary(large > 0, table[:, :, 4], ABSENT)
        counts = [min(count, rules["nms_pre"]) for count in self.anchor_generator.counts(predictions.sizes)]
        levels = var(np.broadcast_to(np.repeat(np.arange(len(counts)), counts), scores.shape), "int32")
        kept, _ = batched_nms(boxes, scores, levels, rules["iou_threshold"], 0.0, rules["max_per_img"])
        rows = gather_rows(table, jt.maximum(kept, 0))
        present = (kept >= 0).unsqueeze(-1).broadcast(rows.shape)
        absent = (jt.index(rows.shape, 2) == 4).float32() * ABSENT
        return jt.ternary(present, rows, absent)
