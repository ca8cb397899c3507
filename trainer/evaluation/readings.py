"""Ways to read a box head's scores: as they are, calibrated, or as chance would have them.

All three work on the scores of whole classes, f32 (1,P,C), after the network and before NMS. So one pass through the
network is enough to compare them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from shared.errors import UserError
from trainer.device import nn, var
from trainer.models.roi_heads.bbox_heads.bbox_head_clip_inference import BBoxHeadCLIPInference
from trainer.models.roi_heads.bbox_heads.clip_bbox_head import CLIPHead
from trainer.models.roi_heads.standard_roi_head import Reading, as_they_are

PLAIN, CALIBRATED, SHUFFLED = "", ", calibrated", ", shuffled embeddings"
_SHUFFLE_SEED = 0


def readings(head: nn.Module, chance: bool) -> dict[str, Reading]:
    """The readings to be compared, by what they add to the name of a split; to be used inside `uncalibrated`.

    Args:
        head: a box head, while its own calibration is in place.
        chance: also with every class's embedding given to another class: the score of a detector that finds objects and
            knows nothing about names.

    Raises:
        UserError: `chance` with a head that has no vocabulary, or only one name.
    """
    found: dict[str, Reading] = {PLAIN: as_they_are}
    if isinstance(head, BBoxHeadCLIPInference) and head.is_calibrated:
        factors = head.factors
        found[CALIBRATED] = lambda scores: scores * var(factors).reshape(1, 1, -1)
    if chance:
        if not isinstance(head, CLIPHead) or head.num_classes < 2:
            raise UserError("--chance shuffles the names' embeddings: it needs a CLIP box head with two names or more")
        # A logit depends on its own class's embedding alone, so exchanging embeddings exchanges columns.
        givers = deranged(head.num_classes)
        found[SHUFFLED] = lambda scores: scores[:, :, var(givers)]
    return found


@contextlib.contextmanager
def uncalibrated(head: nn.Module) -> Iterator[None]:
    """Inside, the head's scores are those without calibration."""
    if not isinstance(head, BBoxHeadCLIPInference):
        yield
        return
    factors, head.factors = head.factors, np.ones_like(head.factors)
    try:
        yield
    finally:
        head.factors = factors


def deranged(count: int) -> np.ndarray:
    """0 to count - 1, always in the same order, none in its own place; i32 (count,), `count` 2 or more."""
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(count).astype(np.int32)
    givers = np.empty_like(order)
    givers[order] = np.roll(order, 1)
    return givers
