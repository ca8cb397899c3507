"""Metrics that even a detector that finds nothing has, early or late; brought in by ``custom_imports``."""

from __future__ import annotations

import json
import time
from pathlib import Path

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

_PATIENCE = 300.0  # seconds


@METRICS.register_module()
class Scores(BaseMetric):
    """The mean of all scores, and how far it is below 1: of two evaluations, one is better by the first and the other
    by the second.

    Args:
        log: a run's ``metrics.jsonl``: it is done when the run has taken a step after that of its evaluation, if there
            is one. None: at once.
        interval: steps from one evaluation to the next.
        last: the run's last step.
    """

    default_prefix = "scores"

    def __init__(self, log: str | None, interval: int, last: int) -> None:
        super().__init__()
        self._log, self._interval, self._last = log and Path(log), interval, last

    def process(self, _: dict, samples: list) -> None:
        self.results += [sample["pred_instances"]["scores"].double().sum().item() for sample in samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        if self._log:
            self._wait()
        return {"mean": sum(results) / 1000, "below": 1 - sum(results) / 1000}

    def _wait(self) -> None:
        over = {step for kind, step in self._lines() if kind == "val"}
        expected = min((len(over) + 1) * self._interval + 1, self._last)
        deadline = time.monotonic() + _PATIENCE
        while ("train", expected) not in self._lines():
            if time.monotonic() > deadline:
                raise TimeoutError(f"there is no step {expected}: training waits for this metric")
            time.sleep(0.05)

    def _lines(self) -> set[tuple[str, int]]:
        lines = self._log.read_text().split("\n")[:-1]
        return {(line["kind"], line["step"]) for line in map(json.loads, lines)}
