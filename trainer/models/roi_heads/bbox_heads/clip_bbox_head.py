"""Box head of stage 2: a RoI is compared with the text embedding of every class.

    RoI features (C,7,7) ─ attnpool ─► e (D,) ─┬─ 100 · cos(e, text_c) ─► class logits (sigmoid)
                                               └─ fc_reg (4)           ─► deltas, the same for all classes

The background's embedding is zero, so its logit is always 0 and never trained. Classes are trained with a federated
loss: of a large vocabulary only the classes that appear among the RoIs and a few drawn at random take part.

UniDetector section 3.2; its BBoxHeadCLIP. The federated loss is Zhou et al., "Detecting Twenty-thousand Classes using
Image-level Supervision", with a uniform draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.errors import UserError
from trainer.device import jt, nn, var
from trainer.models.boxes.columns import clip
from trainer.models.layers import init_normal, unit_length
from trainer.models.losses import federated_columns
from trainer.models.ops.random_keys import Draw, random_keys
from trainer.models.registry import build, register, require
from trainer.models.roi_heads.bbox_heads.attention_pool import AttentionPool2d
from trainer.models.roi_heads.bbox_heads.bbox_head import BBoxHead, accuracy
from trainer.models.roi_heads.bbox_heads.vocabulary import Vocabulary, load_vocabulary
from trainer.models.roi_heads.standard_roi_head import SampledRoIs
from trainer.models.values import Count

SCALE = 100.0  # of the cosine; CLIP's learned temperature
HEAD_WIDTH = 64  # channels of one attention head, in every CLIP ResNet


@dataclass
class Outputs:
    """What the head says about R RoIs: class logits f32 (R,columns), the last the background's, deltas f32 (R,4)."""

    classes: jt.Var
    deltas: jt.Var

    def reshape(self, *shape: int) -> Outputs:
        """The same with `shape` in place of R."""
        return Outputs(*(x.reshape(*shape, x.shape[-1]) for x in (self.classes, self.deltas)))


class CLIPHead(BBoxHead):
    """What the heads with one and with several vocabularies share.

    The columns of the class logits are the classes of all vocabularies one behind the other, then the background. A
    RoI is trained on the columns of its image's vocabulary only.

    Args:
        in_channels, roi_feat_size: of the RoI features.
        num_classes: rows of zeroshot_path.
        loss_cls: a CrossEntropyLoss with use_sigmoid.
        zeroshot_path, cat_freq_path: see Vocabulary.
        fed_loss_num_cat: columns that take part in the class loss, the background counted.

    Attributes:
        vocabularies: of the data sets.
        class_counts: integers (V,), the size of each vocabulary.
        offsets: i32 (V,), the first column of each vocabulary.
        members: f32 (V,columns), 1 for a vocabulary's own columns and the background's.
        drawable: f32 (V,columns), 1 for the columns that the federated loss may draw.
        keys: where the random keys of the draw come from; descending keys are drawn first.
        test_vocabulary: the data set whose classes are detected.
    """

    test_vocabulary = 0

    def __init__(
        self,
        in_channels: Count,
        roi_feat_size: Count,
        num_classes: Count,
        bbox_coder: dict,
        loss_cls: dict,
        loss_bbox: dict,
        zeroshot_path: Any,
        cat_freq_path: Any = None,
        fed_loss_num_cat: Count = 50,
        where: str = "bbox_head",
    ) -> None:
        vocabularies = self.read_vocabularies(zeroshot_path, cat_freq_path, where)
        super().__init__(num_classes, bbox_coder, loss_bbox, where)
        require(loss_cls.get("use_sigmoid"), True, f"{where}.loss_cls.use_sigmoid")
        self.loss_cls = build(loss_cls, f"{where}.loss_cls")
        self.fed_loss_num_cat = fed_loss_num_cat
        self.keys: Callable[[Draw, tuple[int, int]], jt.Var] = random_keys
        if in_channels % HEAD_WIDTH:
            raise UserError(f"{where}.in_channels: a multiple of {HEAD_WIDTH} is expected, found {in_channels}")
        lengths = sorted({vocabulary.embeddings.shape[1] for vocabulary in vocabularies})
        if len(lengths) > 1:
            raise UserError(f"{where}.zeroshot_path: embeddings of different lengths: {lengths}")
        self._index(vocabularies, where)

        self.attnpool = AttentionPool2d(roi_feat_size, in_channels, in_channels // HEAD_WIDTH, lengths[0])
        self.fc_reg = nn.Linear(lengths[0], 4)
        init_normal(self.fc_reg, 0.001)

    def _index(self, vocabularies: list[Vocabulary], where: str) -> None:
        sizes = [len(vocabulary.embeddings) for vocabulary in vocabularies]
        if self.num_classes != max(sizes):
            raise UserError(
                f"{where}.num_classes: {max(sizes)} is expected, the size of the largest vocabulary in "
                f"zeroshot_path, found {self.num_classes}"
            )
        self.vocabularies = vocabularies
        self.class_counts = np.array(sizes)
        self.offsets = np.cumsum([0, *sizes[:-1]]).astype(np.int32)
        self.members = np.zeros((len(sizes), sum(sizes) + 1), np.float32)
        self.members[:, -1] = 1
        self.drawable = self.members.copy()
        for i, (first, size) in enumerate(zip(self.offsets, sizes, strict=True)):
            self.members[i, first : first + size] = 1
            self.drawable[i, first : first + size] = vocabularies[i].drawable

    def read_vocabularies(self, zeroshot_path: Any, cat_freq_path: Any, where: str) -> list[Vocabulary]:
        """The vocabularies that these two keys name."""
        raise NotImplementedError

    def text(self) -> jt.Var:
        """Text embeddings f32 (D,columns)."""
        raise NotImplementedError

    def vocabulary_ids(self, sampled: SampledRoIs) -> np.ndarray:
        """Which vocabulary each group of RoIs is trained on, integers (groups,).

        A group is one image's RoIs or all of the batch's; it has a draw and a normaliser of its own.
        """
        raise NotImplementedError

    def vocabulary_of(self, data_set: int, training: bool) -> int:  # noqa: ARG002 - for heads with several
        """Which vocabulary the labels of data set `data_set` are of."""
        return 0

    def check_classes(self, classes: list[list[str]], training: bool) -> None:
        """See BBoxHead: every data set's classes are the rows of its vocabulary."""
        for number, names in enumerate(classes):
            vocabulary = self.vocabularies[self.vocabulary_of(number, training)]
            vocabulary.check(names, f"data set {number} (counted from 0)")

    def execute(self, features: jt.Var) -> Outputs:
        """RoI features f32 (R,in_channels,roi_feat_size,roi_feat_size)."""
        x = self.attnpool(features)
        classes = nn.matmul(unit_length(x, 1) * SCALE, unit_length(self.text(), 0))
        return Outputs(classes, self.fc_reg(x))

    def loss(self, outputs: Outputs, sampled: SampledRoIs) -> dict[str, jt.Var]:
        """Loss terms f32 (1,) and the accuracy in percent.

        loss_cls is the mean over groups of Σ BCE over RoIs and chosen columns / RoIs; loss_bbox is divided by the
        number of all sampled RoIs.
        """
        ids = self.vocabulary_ids(sampled)
        groups, width = len(ids), outputs.classes.shape[1]
        weights, labels = sampled.samples.weight.reshape(groups, -1), sampled.labels.reshape(groups, -1)
        offsets = var(self.offsets[ids]).unsqueeze(1)
        labels = jt.ternary(labels < self.num_classes, labels + offsets, width - 1)
        logits = outputs.classes.reshape(groups, -1, width)

        drawable, keys = var(self.drawable[ids]), self.keys(sampled.class_draw, (groups, width))
        chosen = federated_columns(labels, weights, drawable, keys, self.fed_loss_num_cat)
        foreground = chosen * (jt.index(chosen.shape, 1) < width - 1).float32()
        shares = weights / (jt.maximum(weights.sum(1, keepdims=True), 1.0) * float(groups))
        one_hot = (jt.index(logits.shape, 2) == labels.unsqueeze(-1)).float32()
        foreign = (1.0 - var(self.members[ids])).unsqueeze(1) * -1e6
        return {
            "loss_cls": self.loss_cls(logits, one_hot, foreground.unsqueeze(1) * shares.unsqueeze(-1), jt.ones(1)),
            "loss_bbox": self.box_loss(outputs.deltas, sampled, jt.maximum(weights.sum(), 1.0)),
            "acc": accuracy((logits.detach() + foreign).reshape(-1, width), labels.reshape(-1), weights.reshape(-1)),
        }

    def scores(self, logits: jt.Var, objectness: jt.Var) -> jt.Var:  # noqa: ARG002 - for heads that fuse both
        """Scores f32 (B,P,C) of class `logits` f32 (B,P,C) of proposals with `objectness` f32 (B,P)."""
        return logits.sigmoid()

    def detections(self, outputs: Outputs, proposals: jt.Var, image_shapes: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Refined boxes f32 (B,P,4), clipped, and scores f32 (B,P,C) of the classes of `test_vocabulary`.

        Rows without a proposal score 0.

        Args:
            outputs: for (B,P) RoIs.
            proposals: f32 (B,P,5), boxes with a score.
            image_shapes: f32 (B,2).
        """
        boxes = clip(self.coder.decode(proposals[:, :, :4], outputs.deltas), image_shapes)
        first, size = int(self.offsets[self.test_vocabulary]), int(self.class_counts[self.test_vocabulary])
        scores = self.scores(outputs.classes[:, :, first : first + size], proposals[:, :, 4])
        return boxes, scores * (proposals[:, :, 4:] >= 0).float32()


def text_matrix(vocabulary: Vocabulary) -> jt.Var:
    """Embeddings as columns and a zero column for the background, f32 (D,C+1), not trained."""
    return var(np.concatenate([vocabulary.embeddings.T, np.zeros_like(vocabulary.embeddings.T[:, :1])], 1)).stop_grad()


@register
class BBoxHeadCLIP(CLIPHead):
    """UniDetector's BBoxHeadCLIP: one vocabulary; the whole batch is one group. For the arguments see CLIPHead."""

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)
        self.zs_weights = text_matrix(self.vocabularies[0])

    def read_vocabularies(self, zeroshot_path: str, cat_freq_path: str | None, where: str) -> list[Vocabulary]:
        return [load_vocabulary(zeroshot_path, cat_freq_path, where)]

    def text(self) -> jt.Var:
        return self.zs_weights

    def vocabulary_ids(self, sampled: SampledRoIs) -> np.ndarray:  # noqa: ARG002 - the same for every batch
        return np.zeros(1, np.int32)
