"""OLN-RPN, the region proposal head of the class-agnostic localisation network (stage 1).

    level map ─3x3 conv─ReLU─L2 norm over channels─┬─ rpn_cls (1)   trained with weight 0, never used for scores
                                                   ├─ rpn_reg (4)   t, b, l, r from one square anchor per cell
                                                   └─ rpn_obj (1)   centerness in its object: the proposal's score

Two assignments run side by side: a strict one (IoU 0.7 / 0.3) for boxes and the dead classification, a wide one (0.3
/ 0.1) for objectness. Proposals are the `nms_pre` best of each level, without NMS and without a limit over levels.

Kim et al., "Learning Open-World Object Proposals without Learning to Classify"; UniDetector section 3.2; mmdet 2.18's
RPNHead. Two traits of the reference are kept: a ground truth that touches the left or top border (min(x1, y1) <= 0)
gives no box supervision, and all terms are divided by the number of samples of the strict assignment.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import UserError
from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.models.boxes.coders import centerness
from trainer.models.boxes.columns import bounds, clip, gather_rows
from trainer.models.boxes.overlaps import aligned_iou
from trainer.models.boxes.sample import Samples
from trainer.models.layers import convolution, init_normal, relu
from trainer.models.ops.top_k import top_k
from trainer.models.registry import build, read, register, require

TINY = 1e-12  # the smallest norm that a feature is divided by


@dataclass
class Predictions:
    """What the head says about every anchor of every image.

    Attributes:
        columns: f32 (B,A,6): class logit, t, b, l, r, objectness logit.
        sizes: (height, width) of each level; A is the sum of their products.
    """

    columns: jt.Var
    sizes: list[tuple[int, int]]


@dataclass
class Targets:
    """What a batch's ground truths ask of the sampled anchors; K samples per image.

    Attributes:
        strict, wide: the samples for boxes and for objectness.
        boxes: f32 (B,K,4), the ground truth of each strict positive.
        box_weights: f32 (B,K), 0 for negatives and for boxes that touch the left or top border.
        objectness: f32 (B,K) in [0, 1], for the wide samples.
        normaliser: f32 (1,), Σ over images of max(positives, 1) + max(negatives, 1) of the strict samples.
    """

    strict: Samples
    wide: Samples
    boxes: jt.Var
    box_weights: jt.Var
    objectness: jt.Var
    normaliser: jt.Var


@register
class OlnRPNHead(nn.Module):
    """See the module's text. `train_cfg` and `test_cfg` are the detector's; see config for their keys."""

    def __init__(
        self,
        in_channels: int,
        feat_channels: int,
        anchor_generator: dict,
        bbox_coder: dict,
        loss_cls: dict,
        loss_bbox: dict,
        loss_objectness: dict,
        objectness_type: str = "Centerness",
        reg_decoded_bbox: bool = True,
        train_cfg: dict | None = None,
        proposal_cfg: dict | None = None,
        test_cfg: dict | None = None,
        where: str = "rpn_head",
    ) -> None:
        require(reg_decoded_bbox, True, f"{where}.reg_decoded_bbox")
        if objectness_type not in ("Centerness", "BoxIoU"):
            raise UserError(f"{where}.objectness_type: 'Centerness' or 'BoxIoU' is expected, found {objectness_type!r}")
        self.objectness_type = objectness_type
        self.anchor_generator = build(anchor_generator, f"{where}.anchor_generator")
        require(self.anchor_generator.anchors_per_cell, 1, f"{where}.anchor_generator: anchors per cell")
        self.coder = build(bbox_coder, f"{where}.bbox_coder")
        self.loss_cls = build(loss_cls, f"{where}.loss_cls")
        self.loss_bbox = build(loss_bbox, f"{where}.loss_bbox")
        self.loss_objectness = build(loss_objectness, f"{where}.loss_objectness")
        self._read_rules(train_cfg, proposal_cfg, test_cfg)

        self.rpn_conv = convolution(in_channels, feat_channels, 3)
        self.rpn_cls = convolution(feat_channels, 1, 1)
        self.rpn_reg = convolution(feat_channels, 4, 1)
        self.rpn_obj = convolution(feat_channels, 1, 1)
        for layer in (self.rpn_conv, self.rpn_cls, self.rpn_reg, self.rpn_obj):
            init_normal(layer, 0.01)
        self.anchors_of: dict[tuple, jt.Var] = {}  # by level sizes; the feed pads images to few sizes

    def _read_rules(self, train_cfg: dict, proposal_cfg: dict, test_cfg: dict) -> None:
        where = "model.train_cfg.rpn"
        rules = read(
            train_cfg,
            where,
            ("assigner", "sampler", "objectness_assigner", "objectness_sampler"),
            allowed_border=0,
            pos_weight=-1,
            debug=False,
        )
        require(rules["allowed_border"], 0, f"{where}.allowed_border")
        require(rules["pos_weight"], -1, f"{where}.pos_weight")
        self.strict_assigner = build(rules["assigner"], f"{where}.assigner")
        self.strict_sampler = build(rules["sampler"], f"{where}.sampler")
        self.wide_assigner = build(rules["objectness_assigner"], f"{where}.objectness_assigner")
        self.wide_sampler = build(rules["objectness_sampler"], f"{where}.objectness_sampler")
        self.best_of_level = {}
        for phase, place, config in (
            ("train", "model.train_cfg.rpn_proposal", proposal_cfg),
            ("test", "model.test_cfg.rpn", test_cfg),
        ):
            rules = read(config, place, ("nms_pre",), min_bbox_size=0)
            require(rules["min_bbox_size"], 0, f"{place}.min_bbox_size")
            self.best_of_level[phase] = int(rules["nms_pre"])

    def execute(self, maps: list[jt.Var]) -> Predictions:
        """Maps f32 (B,C,h,w), one per level, fine to coarse."""
        # One convolution with six outputs instead of three: a 1x1 convolution with one output is slow.
        outputs = (self.rpn_cls, self.rpn_reg, self.rpn_obj)
        weight = jt.concat([layer.weight for layer in outputs])
        bias = jt.concat([layer.bias for layer in outputs])
        levels = []
        for level in maps:
            x = relu(self.rpn_conv(level))
            # The maximum is inside the root: the gradient of a root at 0 is not a number.
            x = x / jt.sqrt(jt.maximum((x * x).sum(1, keepdims=True), TINY**2))
            x = nn.conv2d(x, weight, bias)
            levels.append(x.reshape(x.shape[0], 6, -1))
        columns = jt.concat(levels, 2).transpose(0, 2, 1)
        return Predictions(columns, [(level.shape[2], level.shape[3]) for level in maps])

    def anchors(self, sizes: list[tuple[int, int]], images: int) -> jt.Var:
        """Anchors f32 (images,A,4) of levels of these sizes, the same for each image."""
        key = tuple(sizes)
        if key not in self.anchors_of:
            self.anchors_of[key] = var(self.anchor_generator.grid(sizes), "float32").stop_grad()
        anchors = self.anchors_of[key]
        return anchors.broadcast([images, *anchors.shape], [0])

    def targets(self, sizes: list[tuple[int, int]], batch: Batch) -> Targets:
        """Assign and sample the anchors of a batch."""
        images = batch.image_shapes.shape[0]
        anchors = self.anchors(sizes, images)
        # An anchor inside the content is also inside the padded size: no separate flags for padding cells are needed.
        content = bounds(batch.image_shapes, anchors.shape[1])
        inside = ((anchors >= 0) & (anchors < content)).float32().min(-1) > 0

        strict = self.strict_sampler(self.strict_assigner(anchors, inside, batch.boxes, batch.box_counts))
        boxes = gather_rows(batch.boxes, strict.truth)
        normaliser = (jt.maximum(strict.positives, 1.0) + jt.maximum(strict.negatives, 1.0)).sum()
        # The reference tests "all distances > 0" on the target, which is the absolute box here.
        box_weights = strict.positive * (boxes.min(-1) > 0).float32()

        wide = self.wide_sampler(self.wide_assigner(anchors, inside, batch.boxes, batch.box_counts))
        priors = gather_rows(anchors, wide.index)
        truths = gather_rows(batch.boxes, wide.truth)
        quality = centerness if self.objectness_type == "Centerness" else aligned_iou
        return Targets(strict, wide, boxes, box_weights, quality(priors, truths) * wide.positive, normaliser)

    def loss(self, predictions: Predictions, batch: Batch) -> dict[str, jt.Var]:
        """Loss terms f32 (1,), summed over levels, and the number of positive anchors."""
        targets = self.targets(predictions.sizes, batch)
        strict, wide, normaliser = targets.strict, targets.wide, targets.normaliser
        columns = gather_rows(predictions.columns, strict.index)
        priors = gather_rows(self.anchors(predictions.sizes, predictions.columns.shape[0]), strict.index)
        decoded = self.coder.decode(priors, columns[:, :, 1:5])
        objectness = gather_rows(predictions.columns, wide.index)[:, :, 5].sigmoid()
        return {
            # Class 0 is the object, so a positive's target is 1.
            "loss_rpn_cls": self.loss_cls(columns[:, :, 0], strict.positive, strict.weight, normaliser),
            "loss_rpn_bbox": self.loss_bbox(decoded, targets.boxes, targets.box_weights, normaliser),
            "loss_rpn_obj": self.loss_objectness(objectness, targets.objectness, wide.weight, normaliser),
            "num_positive_anchors": strict.positives.sum(),
        }

    def proposals(self, predictions: Predictions, image_shapes: jt.Var, phase: str) -> jt.Var:
        """The best anchors of each level as boxes; no gradient.

        Args:
            image_shapes: f32 (B,2), height and width that boxes are clipped to.
            phase: 'train' or 'test', which config's `nms_pre` holds.

        Returns:
            f32 (B,P,5): x1,y1,x2,y2,score. A level with more than `nms_pre` anchors is sorted by score, others stay
            in grid order.
        """
        columns = predictions.columns.detach()
        anchors = self.anchors(predictions.sizes, columns.shape[0])
        boxes = clip(self.coder.decode(anchors, columns[:, :, 1:5]), image_shapes)
        logits = columns[:, :, 5]
        table = jt.concat([boxes, logits.sigmoid().unsqueeze(-1)], -1)
        best = self.best_of_level[phase]
        counts = [height * width for height, width in predictions.sizes]
        if max(counts) <= best:
            return table
        parts, first = [], 0
        for count in counts:
            level = table[:, first : first + count]
            if count > best:
                level = gather_rows(level, top_k(logits[:, first : first + count], best))
            parts.append(level)
            first += count
        return jt.concat(parts, 1)
