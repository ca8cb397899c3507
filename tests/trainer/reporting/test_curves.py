"""The curves of a run: what of ``metrics.jsonl`` becomes which chart."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import UserError
from trainer.reporting import curves
from trainer.reporting.charts import BarChart
from trainer.training.log import Progress


def write(work_dir: Path, steps: int, evaluations: int = 1) -> Path:
    """The metrics of a run of `steps` steps, written as a run does."""
    progress = Progress(work_dir, total_steps=steps, steps_per_epoch=10, interval=1)
    for step in range(1, steps + 1):
        progress.train(step, {"loss_cls": 2.0 / step, "loss_off": 0.0, "acc": 50.0}, 0.01 * step, 4, 0.1, 0.2, 1000)
        if step > steps - evaluations:
            values = {"val_base": 0.5, "val_new": 0.25}
            rest = {"mAP_s": math.nan, "mAP_l": -1.0}
            progress.evaluation(step, {name: {"AR@100": value * step, **rest} for name, value in values.items()})
    progress.close()
    return work_dir / "metrics.jsonl"


def test_a_run_has_a_chart_of_losses_one_of_the_rate_and_one_for_each_set_evaluated_repeatedly(tmp_path: Path) -> None:
    losses, rate, base, new = curves.read(write(tmp_path, 20, evaluations=3))
    assert [series.name for series in losses.series] == ["loss_cls"]  # one that is always 0 is left out
    assert list(losses.series[0].x) == list(range(1, 21))
    assert losses.series[0].y[3] == pytest.approx(0.5)
    assert rate.series[0].y[-1] == pytest.approx(0.2)
    assert [base.title, new.title] == ["Evaluation of val_base", "Evaluation of val_new"]
    assert [series.name for series in base.series] == ["AR@100"]  # and so is a metric that never had a value
    assert base.series[0].x == [18, 19, 20] and base.series[0].y == [9.0, 9.5, 10.0]


def test_sets_evaluated_once_are_bars_side_by_side(tmp_path: Path) -> None:
    *_, bars = curves.read(write(tmp_path, 4))
    assert isinstance(bars, BarChart) and bars.names == ["AR@100"]
    assert [(series.name, series.y) for series in bars.series] == [("val_base", [2.0]), ("val_new", [1.0])]


def test_a_metric_that_one_set_alone_has_is_a_bar_of_that_set(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    found = {"a": {"AP": 0.5, "AR": -1}, "b": {"AP50": 0.25, "AR": -1}}
    lines = [{"kind": "val", "step": 4, "epoch": 1, "name": name, **values} for name, values in found.items()]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (bars,) = curves.read(metrics)
    assert isinstance(bars, BarChart) and bars.names == ["AP", "AP50"]


def test_values_that_json_has_no_number_for_are_gaps(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [{"kind": "train", "step": step, "loss": value, "lr": 0.1} for step, value in ((1, 0.5), (2, None))]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert np.isnan(curves.read(path)[0].series[0].y[1])


def test_the_picture_lies_beside_the_metrics(tmp_path: Path) -> None:
    curves.draw(tmp_path)
    assert not list(tmp_path.iterdir())
    write(tmp_path, 5)
    curves.draw(tmp_path)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 1000


def test_a_picture_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    write(tmp_path, 5)
    (tmp_path / "curves.png").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*/curves\.png: Is a directory; free some space"):
        curves.draw(tmp_path)


@pytest.mark.parametrize("content", ["{\n", '{"step": 1}', "[1]", '{"kind": "val", "step": 1}'])
def test_another_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match="not a metrics file"):
        curves.read(path)
