"""A metric that takes as long as it is told; brought in by ``custom_imports``."""

from __future__ import annotations

import time

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric


@METRICS.register_module()
class SlowMetric(BaseMetric):
    """How many images it was shown, after some `seconds`."""

    default_prefix = "slow"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def process(self, _: dict, samples: list) -> None:
        self.results += [1] * len(samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        time.sleep(self._seconds)
        return {"images": float(len(results))}
