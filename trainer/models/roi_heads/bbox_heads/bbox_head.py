"""What box heads share: labels and box targets of sampled RoIs, the class-agnostic box loss, the accuracy monitor."""

from __future__ import annotations

import numpy as np

from shared.errors import UserError
from trainer.device import jt, nn
from trainer.models.registry import build
from trainer.models.roi_heads.standard_roi_head import SampledRoIs


class BBoxHead(nn.Module):
    """Base of the box heads; boxes are refined by four deltas per RoI, the same for all classes.

    Attributes:
        num_classes: foreground classes; this number is also the background's label.
        coder: turns deltas into boxes.
    """

    def __init__(self, num_classes: int, bbox_coder: dict, loss_bbox: dict, where: str) -> None:
        self.num_classes = num_classes
        self.coder = build(bbox_coder, f"{where}.bbox_coder")
        self.loss_bbox = build(loss_bbox, f"{where}.loss_bbox")

    def sizes(self, dataset_ids: np.ndarray) -> np.ndarray:
        """How many classes the head has for images of these data sets, integers (B,)."""
        return np.full(len(dataset_ids), self.num_classes)

    def check_classes(self, classes: list[list[str]], training: bool) -> None:
        """Refuse data sets whose classes are not the head's.

        Args:
            classes: the names of each data set's classes by label.
            training: or the data sets are to be detected in.

        Raises:
            UserError: names the first class that differs.
        """

    def check_labels(self, host: dict[str, np.ndarray]) -> None:
        """Refuse a batch, by its small arrays on the host (labels i32 (B,G), see Batch.host), with labels that the head
        has no class for.

        Jittor would silently train something else: the background, or a class of another data set.

        Raises:
            UserError: names the data set and the label.
        """
        ids, labels = host["dataset_ids"], host["labels"]
        sizes = self.sizes(ids)
        wrong = (np.arange(labels.shape[1]) < host["box_counts"][:, None]) & (labels >= sizes[:, None])
        if wrong.any():
            image, box = np.argwhere(wrong)[0]
            raise UserError(
                f"a box of data set {ids[image]} (counted from 0) has label {labels[image, box]}, the box head has "
                f"{sizes[image]} classes for it; the data set's metainfo.classes should be the head's classes in the "
                "same order, or class_agnostic=True for a head with one class"
            )

    def box_loss(self, deltas: jt.Var, sampled: SampledRoIs, normaliser: jt.Var) -> jt.Var:
        """Loss f32 (1,) of `deltas` f32 (B·K,4) over positives, divided by the number of all sampled RoIs."""
        targets = self.coder.encode(sampled.boxes, sampled.truths)
        weights = sampled.samples.positive.unsqueeze(-1).broadcast(targets.shape)
        return self.loss_bbox(deltas, targets.reshape(-1, 4), weights.reshape(-1, 4), normaliser)


def accuracy(logits: jt.Var, labels: jt.Var, weights: jt.Var) -> jt.Var:
    """Percentage of rows whose largest logit is their label; logits f32 (R,C), labels i32 (R,), weights f32 (R,)."""
    hits = (logits.argmax(1)[0] == labels).float32()
    return (hits * weights).sum() / jt.maximum(weights.sum(), 1.0) * 100.0
