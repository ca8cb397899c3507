"""What probability calibration did, as charts: detections of each class before and after, and the classes' weights.

Few classes are rows with bars, by falling number of detections before calibration; many are lines over that rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.reporting.charts import BarChart, Chart, LineChart, Series

MOST_ROWS = 40


def calibration_charts(
    names: Sequence[str], before: np.ndarray, after: np.ndarray, weights: np.ndarray
) -> tuple[Chart, Chart]:
    """Two charts.

    Args:
        names: (C,), the vocabulary.
        before, after: (C,), detections of each class without and with calibration.
        weights: (C,), what calibration multiplies each class's probability with.
    """
    order = np.argsort(-np.asarray(before), kind="stable")
    counts = {"before": np.asarray(before, float)[order], "after": np.asarray(after, float)[order]}
    factors = {"weight": np.asarray(weights, float)[order]}
    return (
        _chart("Detections of each class, without and with calibration", "detections", names, order, counts, True),
        _chart("Weight of each class's probability", "weight", names, order, factors, False),
    )


def _chart(
    title: str, unit: str, names: Sequence[str], order: np.ndarray, values: dict[str, np.ndarray], logarithmic: bool
) -> Chart:
    if len(names) <= MOST_ROWS:
        rows = [names[row] for row in order]
        return BarChart(title, unit, rows, [Series(name, y.tolist()) for name, y in values.items()], logarithmic)
    ranks = list(range(1, len(names) + 1))
    series = [Series(name, y.tolist(), ranks) for name, y in values.items()]
    return LineChart(title, "class, by its detections before calibration", series, logarithmic, bottom=0.0)
