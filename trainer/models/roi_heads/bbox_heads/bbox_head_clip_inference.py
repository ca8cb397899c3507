"""Box head for classes that were never trained: class scores are calibrated and fused with the proposals' scores.

    score of class c = (p_c · w_c)^beta · s^(1 - beta)        p_c  sigmoid of the class logit
                                                              s    the proposal's score (class-agnostic)
    w_c = n_c^-gamma / mean over classes of n^-gamma          n_c  detections of class c in a first, uncalibrated pass

Trained classes are over-confident; the prior n_c, estimated on the test set itself, takes that back. Scores may exceed
1 after calibration.

UniDetector section 3.3 (probability calibration); its BBoxHeadCLIPInference.
"""

from __future__ import annotations

import numpy as np

from shared.errors import UserError
from trainer.device import jt, var
from trainer.models.registry import register
from trainer.models.roi_heads.bbox_heads.clip_bbox_head import BBoxHeadCLIP


@register
class BBoxHeadCLIPInference(BBoxHeadCLIP):
    """See the module's text, and BBoxHeadCLIP for the arguments that are not here.

    Args:
        beta: the class's share in a detection's score.
        gamma: strength of the calibration; goes with `detection_counts`.
        detection_counts: .npy file with n_c, (C,), of the first pass; None: no calibration.
        least_count: n_c below this number count as this number. The original has 0, with which one class that was
            never detected leaves no detection at all.

    Attributes:
        factors: f32 (C,), w_c^beta.
    """

    def __init__(
        self,
        in_channels: int,
        roi_feat_size: int,
        num_classes: int,
        bbox_coder: dict,
        loss_cls: dict,
        loss_bbox: dict,
        zeroshot_path: str,
        beta: float,
        gamma: float | None = None,
        detection_counts: str | None = None,
        least_count: float = 1.0,
        cat_freq_path: str | None = None,
        fed_loss_num_cat: int = 50,
        where: str = "bbox_head",
    ) -> None:
        super().__init__(
            in_channels,
            roi_feat_size,
            num_classes,
            bbox_coder,
            loss_cls,
            loss_bbox,
            zeroshot_path,
            cat_freq_path,
            fed_loss_num_cat,
            where,
        )
        if (gamma is None) != (detection_counts is None):
            raise UserError(f"{where}: gamma and detection_counts go together")
        self.beta = float(beta)
        self.factors = np.ones(num_classes, np.float32)
        if detection_counts is not None:
            counts = np.maximum(_read_counts(detection_counts, num_classes, where), least_count)
            self.factors = calibration(counts, gamma) ** self.beta

    def scores(self, logits: jt.Var, objectness: jt.Var) -> jt.Var:
        # The logarithm of the sigmoid, because Jittor's sigmoid ends at e^-30 and a small power makes that large.
        log_p = jt.minimum(logits, 0.0) - jt.log(1.0 + jt.exp(-jt.abs(logits)))
        located = jt.pow(jt.maximum(objectness, 0.0), 1.0 - self.beta)
        return jt.exp(log_p * self.beta) * var(self.factors).reshape(1, 1, -1) * located.unsqueeze(-1)


def calibration(counts: np.ndarray, gamma: float) -> np.ndarray:
    """w_c, f32 (C,), from n_c (C,); all 0 when a class has no detection (the original: NaN for it, 0 for the others).

    Either way no score passes a threshold.
    """
    if not counts.all():
        return np.zeros(len(counts), np.float32)
    prior = np.power(counts, -float(gamma)).astype(np.float32)
    return prior / prior.mean()


def _read_counts(path: str, classes: int, where: str) -> np.ndarray:
    try:
        counts = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{where}.detection_counts: cannot read {path!r} as a .npy file: {error}") from None
    if counts.shape != (classes,) or counts.dtype.kind not in "iuf" or not (counts >= 0).all():
        raise UserError(
            f"{where}.detection_counts: {path} should hold {classes} numbers, the detections of each class; "
            f"found {counts.dtype} {counts.shape}"
        )
    return counts.astype(np.float64)
