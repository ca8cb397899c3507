"""Which of two scores of a metric is better, as MMEngine's hooks decide it.

Their ``rule`` is 'greater' or 'less'. Where a config has none, the metric's name tells: it is one of the keys, or has
one in it; case does not matter. Names are MMEngine's, ``coco/bbox_mAP``; our tables have them without ``coco/``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from shared.errors import UserError
from shared.keys import unknown

GREATER, LESS = "greater", "less"
WORST = {GREATER: -math.inf, LESS: math.inf}
GREATER_KEYS = ("acc", "top", "AR@", "auc", "precision", "mAP", "mDice", "mIoU", "mAcc", "aAcc")
LESS_KEYS = ("loss",)
_COCO = "coco/"


def better(rule: str, score: float, other: float) -> bool:
    """Whether `score` is better than `other`; never where one of them is NaN."""
    return score > other if rule == GREATER else score < other


def rule_of(where: str, metric: str, greater: Collection[str] = GREATER_KEYS, less: Collection[str] = LESS_KEYS) -> str:
    """The rule of a metric by its name.

    Raises:
        UserError: the name tells nothing; `where` is the place of ``rule`` in the config.
    """
    name = metric.lower()
    keys = {GREATER: {key.lower() for key in greater}, LESS: {key.lower() for key in less}}
    for fits in (name.__eq__, name.__contains__):
        for rule, words in keys.items():
            if any(fits(word) for word in words):
                return rule
    raise UserError(f"{where} is missing: {metric!r} does not tell what is better; give 'greater' or 'less'")


def find(metrics: Mapping[str, float], metric: str) -> str | None:
    """What the evaluation calls a metric of the config; None where it has none of that name."""
    return next((name for name in (metric, _COCO + metric) if name in metrics), None)


def no_metric(where: str, metric: str, metrics: Mapping[str, float]) -> UserError:
    """The error where an evaluation has no metric of that name."""
    return unknown(where, "metric", metric, list(metrics))
