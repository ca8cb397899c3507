"""Box head for classes that were never trained: class scores are calibrated and fused with the proposals' scores.

    score of class c = (p_c · w_c)^beta · s^(1 - beta)        p_c  sigmoid of the class logit
                                                              s    the proposal's score (class-agnostic)
    w_c = n_c^-gamma / mean over classes of n^-gamma          n_c  detections of class c in a first, uncalibrated pass

Trained classes are over-confident; the prior n_c, estimated on the test set itself, corrects that. Scores may exceed
1 after calibration. ``python -m trainer calibrate`` makes the first pass and writes n_c with its vocabulary and gamma
(`trainer.vocabulary.calibration`).

UniDetector section 3.3 (probability calibration); its BBoxHeadCLIPInference.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shared import npy
from shared.errors import UserError
from trainer.device import jt, var
from trainer.models.registry import register
from trainer.models.roi_heads.bbox_heads.clip_bbox_head import BBoxHeadCLIP
from trainer.models.values import Amount, Share
from trainer.vocabulary.calibration import Calibration, load, weights


@register
class BBoxHeadCLIPInference(BBoxHeadCLIP):
    """See the module's text, and CLIPHead for the arguments that are not here.

    Args:
        beta: the class's share in a detection's score.
        calibration: the file of ``python -m trainer calibrate``; None: no calibration.
        gamma: strength of the calibration, instead of the one in that file; 0.6 where neither is given.
        least_count: n_c below this number count as this number. The original has 0, with which one class that was
            never detected leaves no detection at all.
        detection_counts: instead of `calibration`, a .npy file with n_c, (C,), of a first pass made elsewhere.

    Attributes:
        gamma, least_count: as above, gamma None where the config says nothing.
        prior: the Calibration that was read, or None.
        factors: f32 (C,), w_c^beta.
    """

    def __init__(
        self,
        beta: Share,
        calibration: str | None = None,
        gamma: Amount | None = None,
        least_count: Amount = 1.0,
        detection_counts: str | None = None,
        where: str = "bbox_head",
        **shared: Any,
    ) -> None:
        super().__init__(where=where, **shared)
        if calibration is not None and detection_counts is not None:
            raise UserError(f"{where}: calibration and detection_counts exclude each other")
        self.beta = float(beta)
        self.gamma, self.least_count = gamma, least_count
        self.prior: Calibration | None = None
        self.factors = np.ones(self.num_classes, np.float32)
        if detection_counts is not None:
            if gamma is None:
                raise UserError(f"{where}.gamma: detection_counts needs it")
            counts = _read_counts(detection_counts, self.num_classes, where)
            self.factors = weights(counts, gamma, least_count) ** self.beta
        elif calibration is not None:
            self.prior = load(calibration, self.embeddings(), f"{where}.calibration")
            self.factors = self.prior.weights(gamma, least_count) ** self.beta

    @property
    def is_calibrated(self) -> bool:
        """Whether any class's scores are changed by calibration."""
        return bool((self.factors != 1).any())

    def embeddings(self) -> np.ndarray:
        """The vocabulary's text embeddings, f32 (C,D)."""
        return self.text().numpy()[:, :-1].T

    def scores(self, logits: jt.Var, objectness: jt.Var) -> jt.Var:
        # The logarithm of the sigmoid, because Jittor's sigmoid ends at e^-30 and a small power makes that large.
        log_p = jt.minimum(logits, 0.0) - jt.log(1.0 + jt.exp(-jt.abs(logits)))
        located = jt.pow(jt.maximum(objectness, 0.0), 1.0 - self.beta)
        return jt.exp(log_p * self.beta) * located.unsqueeze(-1) * var(self.factors).reshape(1, 1, -1)


def _read_counts(path: str, classes: int, where: str) -> np.ndarray:
    counts = npy.read(path, f"{where}.detection_counts")
    fits = counts.shape == (classes,) and counts.dtype.kind in "iuf"
    if not fits or not (np.isfinite(counts) & (counts >= 0)).all():
        raise UserError(
            f"{where}.detection_counts: {path} should hold {classes} numbers, the detections of each class; "
            f"found {counts.dtype} {counts.shape}"
        )
    return counts.astype(np.float64)
