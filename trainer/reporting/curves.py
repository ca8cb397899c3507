"""The curves of a run, from its ``metrics.jsonl``: losses, learning rate, and the metrics of every evaluation.

``python -m trainer train`` leaves them as ``curves.png`` beside it; a report has the same charts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from shared.errors import UserError
from trainer.reporting import charts
from trainer.reporting.charts import BarChart, Chart, LineChart, Series
from trainer.training import log
from trainer.training.log import METRICS_FILE

CURVES_FILE = "curves.png"
_HEAD = ("kind", "step", "epoch", "name")


def read(path: str | os.PathLike) -> list[Chart]:
    """The charts of a run's metrics file: losses that are not always 0, learning rate, evaluations.

    Raises:
        UserError: the file cannot be read, or is not what `trainer.training.log` writes.
    """
    try:
        lines = log.read(Path(path))
        train = [line for line in lines if line["kind"] == "train" and line["step"]]
        evaluations = [line for line in lines if line["kind"] == "val" and line["step"]]
        datasets = list(dict.fromkeys(line["name"] for line in evaluations))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"metrics {path}: not a metrics file of a training run ({error})") from None
    found: list[Chart] = []
    if train:
        losses = [one for one in (_series(name, train) for name in _names(train) if "loss" in name) if any(one.y)]
        found += [LineChart("Losses", "steps", losses, logarithmic=True)] if losses else []
        found.append(LineChart("Learning rate", "steps", [_series("lr", train)], bottom=0.0))
    found += _evaluations({name: [line for line in evaluations if line["name"] == name] for name in datasets})
    if not found:
        raise UserError(f"metrics {path}: no finished step and no evaluation in it yet")
    return found


def _evaluations(lines: dict[str, list[dict]]) -> list[Chart]:
    """Lines for each data set; bars for all of them together where each was evaluated once."""
    if lines and all(len(own) == 1 for own in lines.values()):
        metrics = _names([own[0] for own in lines.values()])
        series = [Series(dataset, [_value(own[0], name) for name in metrics]) for dataset, own in lines.items()]
        shown = [row for row in range(len(metrics)) if any(math.isfinite(one.y[row]) for one in series)]
        bars = [Series(one.name, [one.y[row] for row in shown]) for one in series]
        return [BarChart("Evaluation at the end", "", [metrics[row] for row in shown], bars)] if shown else []
    charts_of: list[Chart] = []
    for dataset, own in lines.items():
        series = [one for one in (_series(name, own) for name in _names(own)) if any(map(math.isfinite, one.y))]
        charts_of += [LineChart(f"Evaluation of {dataset}", "steps", series, bottom=0.0)] if series else []
    return charts_of


def draw(work_dir: Path) -> None:
    """Writes ``curves.png`` of a run's work dir, unless nothing was logged yet."""
    metrics = work_dir / METRICS_FILE
    if metrics.exists() and metrics.stat().st_size:
        charts.draw(work_dir / CURVES_FILE, read(metrics))


def _names(lines: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line if name not in _HEAD))


def _series(name: str, lines: Sequence[dict]) -> Series:
    return Series(name, [_value(line, name) for line in lines], [line["step"] for line in lines])


def _value(line: dict, name: str) -> float:
    """NaN where the line has none; COCO's metrics are -1 where there is nothing to measure."""
    value = line.get(name)
    return math.nan if value is None or value == -1 else value
