"""The curves of a run: what of ``metrics.jsonl`` becomes which chart."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import UserError
from trainer import curves
from trainer.progress import Progress


def write(work_dir: Path, steps: int) -> Path:
    """The metrics of a run of `steps` steps, written as a run does."""
    progress = Progress(work_dir, total_steps=steps, steps_per_epoch=10, interval=1)
    for step in range(1, steps + 1):
        progress.train(step, {"loss_cls": 2.0 / step, "acc": 50.0}, 0.01 * step, 4, 0.1, 0.2, 1000)
    progress.evaluation(steps, "val_base", {"AR@100": 0.5, "mAP_s": math.nan})
    progress.close()
    return work_dir / "metrics.jsonl"


def test_a_run_has_a_chart_of_losses_one_of_the_rate_and_one_for_each_evaluated_set(tmp_path: Path) -> None:
    losses, rate, evaluation = curves.read(write(tmp_path, 20))
    assert [series.name for series in losses.series] == ["loss_cls"]
    assert list(losses.series[0].x) == list(range(1, 21))
    assert losses.series[0].y[3] == pytest.approx(0.5)
    assert rate.series[0].y[-1] == pytest.approx(0.2)
    assert evaluation.title == "Evaluation of val_base"
    assert [series.name for series in evaluation.series] == ["AR@100"]  # a metric that never was a number is left out


def test_values_that_json_has_no_number_for_are_gaps(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [{"kind": "train", "step": step, "loss": value, "lr": 0.1} for step, value in ((1, 0.5), (2, None))]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert np.isnan(curves.read(path)[0].series[0].y[1])


def test_the_picture_lies_beside_the_metrics(tmp_path: Path) -> None:
    assert curves.draw(tmp_path) is None
    write(tmp_path, 5)
    with Image.open(curves.draw(tmp_path)) as picture:
        assert picture.width > 1000


@pytest.mark.parametrize("content", ["{", '{"step": 1}', "[1]", '{"kind": "val", "step": 1}'])
def test_another_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match="not a metrics file"):
        curves.read(path)
