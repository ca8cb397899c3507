"""The curves of a run, from its ``metrics.jsonl``: losses, learning rate, and the metrics of every evaluation.

``--task train`` leaves them as ``curves.png`` beside it; a report has the same charts.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from shared.errors import UserError
from trainer import charts
from trainer.charts import LineChart, Series
from trainer.progress import METRICS_FILE

CURVES_FILE = "curves.png"
_HEAD = ("kind", "step", "epoch", "name")


def read(path: str | os.PathLike) -> list[LineChart]:
    """The charts of a run's metrics file: losses, learning rate, then one for each evaluated data set.

    Raises:
        UserError: the file cannot be read, or is not what `trainer.progress` writes.
    """
    try:
        lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
        train = [line for line in lines if line["kind"] == "train" and line["step"]]
        evaluations = [line for line in lines if line["kind"] == "val" and line["step"]]
        datasets = list(dict.fromkeys(line["name"] for line in evaluations))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"metrics {path}: not a metrics file of a training run ({error})") from None
    found = []
    if train:
        losses = [name for name in _names(train) if "loss" in name]
        chart = LineChart("Losses", "steps", [_series(name, train) for name in losses], logarithmic=True)
        found += [chart] if losses else []
        found.append(LineChart("Learning rate", "steps", [_series("lr", train)], bottom=0.0))
    for dataset in datasets:
        own = [line for line in evaluations if line["name"] == dataset]
        series = [one for one in (_series(name, own) for name in _names(own)) if any(map(math.isfinite, one.y))]
        if series:
            found.append(LineChart(f"Evaluation of {dataset}", "steps", series, bottom=0.0))
    if not found:
        raise UserError(f"metrics {path}: no finished step and no evaluation in it yet")
    return found


def draw(work_dir: Path) -> Path | None:
    """Writes ``curves.png`` of a run's work dir and returns its path; None where nothing was logged yet."""
    metrics = work_dir / METRICS_FILE
    if not metrics.exists() or not metrics.stat().st_size:
        return None
    charts.draw(work_dir / CURVES_FILE, read(metrics))
    return work_dir / CURVES_FILE


def _names(lines: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line if name not in _HEAD))


def _series(name: str, lines: Sequence[dict]) -> Series:
    values = [line.get(name) for line in lines]
    return Series(name, [math.nan if value is None else value for value in values], [line["step"] for line in lines])
