"""OLN-RPN, the region proposal head of the class-agnostic localisation network (stage 1).

    level map ─3x3 conv─ReLU─L2 norm over channels─┬─ rpn_cls (1)   trained with weight 0, never used for scores
                                                   ├─ rpn_reg (4)   t, b, l, r from one square anchor per cell
                                                   └─ rpn_obj (1)   centerness in its object: the proposal's score

Two assignments run side by side: a strict one (IoU 0.7 / 0.3) for boxes and the dead classification, a wide one (0.3
/ 0.1) for objectness. Proposals are the `nms_pre` best of each level, without NMS and without a limit over levels.

Kim et al., "Learning Open-World Object Proposals without Learning to Classify"; UniDetector section 3.2; mmdet 2.18's
RPNHead. All terms are divided by the number of samples of the strict assignment, as in the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import UserError
from trainer.batch import Batch
from trainer.device import jt, nn
from trainer.models.boxes.coders import centerness
from trainer.models.boxes.columns import gather_rows, pick_rows
from trainer.models.boxes.overlaps import aligned_iou
from trainer.models.boxes.sample import Samples
from trainer.models.heads.rpn_head import Predictions, RPNHead
from trainer.models.layers import Convolution, init_normal
from trainer.models.ops.convolution import convolve
from trainer.models.ops.random_keys import Draw, Use
from trainer.models.ops.unit_features import unit_features
from trainer.models.precision import raised
from trainer.models.registry import build, read, register, require
from trainer.models.values import Count


@dataclass
class Targets:
    """What a batch's ground truths ask of the sampled anchors; K samples per image.

    Attributes:
        strict, wide: the samples for boxes and for objectness.
        anchors: f32 (B,K,4), the anchors of the strict samples.
        boxes: f32 (B,K,4), the ground truth of each strict positive.
        box_weights: f32 (B,K), 0 for negatives and for ground truths without box supervision.
        objectness: f32 (B,K) in [0, 1], for the wide samples.
        normaliser: f32 (1,), Σ over images of max(positives, 1) + max(negatives, 1) of the strict samples.
    """

    strict: Samples
    wide: Samples
    anchors: jt.Var
    boxes: jt.Var
    box_weights: jt.Var
    objectness: jt.Var
    normaliser: jt.Var


@register
class OlnRPNHead(RPNHead):
    """See the module's text. The columns of its predictions: class logit, t, b, l, r, objectness logit.

    Args:
        skip_border_boxes: give no box supervision to ground truths that touch the left or top border. The reference
            does so by mistake (its check for positive distances meets absolute coordinates); True reproduces its
            numbers.
    """

    def __init__(
        self,
        in_channels: Count,
        feat_channels: Count,
        anchor_generator: dict,
        bbox_coder: dict,
        loss_cls: dict,
        loss_bbox: dict,
        loss_objectness: dict,
        objectness_type: str = "Centerness",
        reg_decoded_bbox: bool = True,
        skip_border_boxes: bool = False,
        train_cfg: dict | None = None,
        proposal_cfg: dict | None = None,
        test_cfg: dict | None = None,
        where: str = "rpn_head",
    ) -> None:
        require(reg_decoded_bbox, True, f"{where}.reg_decoded_bbox")
        if objectness_type not in ("Centerness", "BoxIoU"):
            raise UserError(f"{where}.objectness_type: 'Centerness' or 'BoxIoU' is expected, found {objectness_type!r}")
        super().__init__(
            in_channels,
            feat_channels,
            anchor_generator,
            bbox_coder,
            loss_cls,
            loss_bbox,
            train_cfg,
            proposal_cfg,
            test_cfg,
            where,
        )
        if (anchors := self.anchor_generator.anchors_per_cell) != 1:
            raise UserError(
                f"{where}.anchor_generator: scales x ratios make {anchors} anchors at each cell; expected 1, of one "
                "scale and one ratio"
            )
        self.objectness_type = objectness_type
        self.skip_border_boxes = skip_border_boxes
        self.loss_objectness = build(loss_objectness, f"{where}.loss_objectness")
        self.rpn_obj = Convolution(feat_channels, 1, 1)
        init_normal(self.rpn_obj, 0.01)

    def _read_training_rules(self, config: dict | None, where: str, more: tuple[str, ...] = ()) -> dict:
        rules = super()._read_training_rules(config, where, (*more, "objectness_assigner", "objectness_sampler"))
        self.wide_assigner = build(rules["objectness_assigner"], f"{where}.objectness_assigner")
        self.wide_sampler = build(rules["objectness_sampler"], f"{where}.objectness_sampler")
        return rules

    def _read_proposal_rules(self, config: dict | None, where: str) -> dict:
        rules = read(config, where, ("nms_pre",), min_bbox_size=0)
        require(rules["min_bbox_size"], 0, f"{where}.min_bbox_size")
        return rules

    def outputs(self) -> tuple[nn.Conv, ...]:
        """The 1x1 convolutions, in the order of their columns."""
        return (*super().outputs(), self.rpn_obj)

    def features(self, level: jt.Var) -> jt.Var:
        """What the 1x1 convolutions see of a level's map (B,C,h,w), f32: of unit length at every cell."""
        return unit_features(raised(convolve(level, self.rpn_conv.weight, padding=1)), self.rpn_conv.bias)

    def targets(self, sizes: list[tuple[int, int]], batch: Batch) -> Targets:
        """Assign and sample the anchors of a batch, both ways."""
        anchors, inside = self.anchor_generator(sizes, batch.image_shapes)
        strict, normaliser = self.sample(anchors, inside, batch)
        boxes = gather_rows(batch.boxes, strict.truth)
        box_weights = strict.positive
        if self.skip_border_boxes:
            box_weights = box_weights * (boxes.min(-1) > 0).float32()

        assigned = self.wide_assigner(anchors.unsqueeze(0), inside, batch.boxes, batch.box_counts)
        wide = self.wide_sampler(assigned, Draw(batch.seed, batch.step, Use.WIDE_ANCHORS))
        priors = pick_rows(anchors, wide.index)
        truths = gather_rows(batch.boxes, wide.truth)
        quality = centerness if self.objectness_type == "Centerness" else aligned_iou
        objectness = quality(priors, truths) * wide.positive
        return Targets(strict, wide, pick_rows(anchors, strict.index), boxes, box_weights, objectness, normaliser)

    def loss(self, predictions: Predictions, batch: Batch) -> dict[str, jt.Var]:
        """Loss terms f32 (1,), summed over levels, and the number of positive anchors."""
        targets = self.targets(predictions.sizes, batch)
        strict, wide, normaliser = targets.strict, targets.wide, targets.normaliser
        columns = gather_rows(predictions.columns, strict.index)
        decoded = self.coder.decode(targets.anchors, columns[:, :, 1:5])
        objectness = gather_rows(predictions.columns, wide.index)[:, :, 5].sigmoid()
        return {
            # Class 0 is the object, so a positive's target is 1.
            "loss_rpn_cls": self.loss_cls(columns[:, :, 0], strict.positive, strict.weight, normaliser),
            "loss_rpn_bbox": self.loss_bbox(decoded, targets.boxes, targets.box_weights, normaliser),
            "loss_rpn_obj": self.loss_objectness(objectness, targets.objectness, wide.weight, normaliser),
            "num_positive_anchors": strict.positives.sum(),
        }

    def proposals(self, predictions: Predictions, image_shapes: jt.Var, phase: str) -> jt.Var:
        """The best anchors of each level as boxes, by their objectness; no gradient.

        Args:
            image_shapes: f32 (B,2), height and width that boxes are clipped to.
            phase: 'train' or 'test', which config's `nms_pre` holds.

        Returns:
            f32 (B,P,5): x1,y1,x2,y2,score. A level with more than `nms_pre` anchors is sorted by score, others stay
            in grid order.
        """
        return self.scored_boxes(predictions, 5, image_shapes, self.rules[phase]["nms_pre"])
