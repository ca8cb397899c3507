"""A metric that sees whether predictions are others, or in another order; brought in by ``custom_imports``."""

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric


@METRICS.register_module()
class Weighing(BaseMetric):
    """How many images there are, and what their scores and boxes add up to, the later ones with more weight."""

    def process(self, _: dict, samples: list) -> None:
        for sample in samples:
            found = sample["pred_instances"]
            self.results.append(float(found["scores"].sum() + found["bboxes"].sum()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {"images": len(results), "weight": sum(place * one for place, one in enumerate(results, 1))}
