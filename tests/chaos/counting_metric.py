"""A metric that takes its time and says how many images it was given, brought in by ``custom_imports``."""

import time

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric


@METRICS.register_module()
class Counting(BaseMetric):
    """Args: seconds: how long it takes."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds

    def process(self, _: dict, samples: list) -> None:
        self.results += samples

    def compute_metrics(self, results: list) -> dict[str, float]:
        time.sleep(self.seconds)
        return {"images": len(results)}
