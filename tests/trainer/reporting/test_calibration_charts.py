"""What calibration did, as charts: rows for few classes, lines for many, in the same order."""

from __future__ import annotations

import numpy as np

from trainer.reporting import charts
from trainer.reporting.calibration_charts import MOST_ROWS, calibration_charts
from trainer.reporting.charts import BarChart, LineChart


def test_few_classes_are_rows_by_falling_number_of_detections() -> None:
    counts, weights = calibration_charts(
        ["cat", "dog", "cow"], np.array([5, 0, 90]), np.array([7, 1, 40]), np.array([1.0, 1.7, 0.3])
    )
    assert isinstance(counts, BarChart) and isinstance(weights, BarChart)
    assert counts.names == weights.names == ["cow", "cat", "dog"]
    before, after = counts.series
    assert before.y == [90, 5, 0] and after.y == [40, 7, 1]
    assert weights.series[0].y == [0.3, 1.0, 1.7]


def test_many_classes_are_lines_over_their_rank() -> None:
    names = [f"class {number}" for number in range(MOST_ROWS + 1)]
    before = np.arange(len(names))
    counts, weights = calibration_charts(names, before, before[::-1], np.ones(len(names)))
    assert isinstance(counts, LineChart) and isinstance(weights, LineChart)
    assert list(counts.series[0].y) == sorted(before.tolist(), reverse=True)
    assert list(counts.series[1].y) == sorted(before.tolist())
    assert "<svg" in charts.svg(counts)
