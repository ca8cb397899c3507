"""Arrays of arrays of different shapes, which numpy made by itself until 1.24, for MMDetection's `eval_recalls`.

``CocoMetric(metric='proposal_fast')`` and ``VOCMetric(metric='recall')`` put the overlaps of each image, truths times
proposals, into one array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mmdet.evaluation.functional import recall


class _Numpy:
    """numpy, whose `array` takes them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def array(values: Any, *arguments: Any, **more: Any) -> Any:
        if isinstance(values, list) and len({np.shape(one) for one in values}) > 1:
            rows = np.empty(len(values), object)
            rows[:] = values
            return rows
        return np.array(values, *arguments, **more)


def allow() -> None:
    """Lets MMDetection's `eval_recalls` work with any numpy."""
    recall.np = _Numpy()
