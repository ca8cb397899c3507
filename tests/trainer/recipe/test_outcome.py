"""The recipe's table: evaluations with the same title share a row, readings have rows of their own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from mmengine.config import Config

from shared.errors import UserError
from trainer.recipe.outcome import outcome
from trainer.recipe.steps import Recipe, Step


def recipe(*steps: tuple[str, str, str]) -> Recipe:
    made = [Step(name, task, Config(), None, (), (), title) for name, task, title in steps]
    return Recipe(Path("r.py"), "r", made, {"mAP": "AP", "mAP_50": "AP50"}, {"val_a": "seen"}, "", "", Path("w"))


def write(folder: Path, name: str, results: dict) -> None:
    (folder / name).mkdir()
    (folder / name / "results.json").write_text(json.dumps({"checkpoint": "f", "results": results}))


def test_a_row_for_each_title_and_reading_a_column_for_each_split_and_metric(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a",
        {"val_a": {"mAP": 0.5, "mAP_50": 0.7, "mAP_s": 0.1}, "val_a, calibrated": {"mAP": 0.6, "mAP_50": None}},
    )
    write(tmp_path, "b", {"val_b": {"mAP": 0.2, "mAP_50": 0.3}})
    write(tmp_path, "c", {"val_b": {"mAP": 0.1, "mAP_50": 0.2}})
    write(tmp_path, "recall", {"val_a": {"AR@100": 0.9}})
    steps = [
        ("t", "train", "t"),
        ("recall", "evaluate", "stage 1"),
        ("a", "evaluate", "both"),
        ("b", "evaluate", "both"),
    ]
    found = outcome(recipe(*steps, ("c", "evaluate", "one")), lambda name: tmp_path / name)
    header, *rows = found.cells({"val_a": "seen"})
    assert header == ["", "AP seen", "AP50 seen", "AP val_b", "AP50 val_b"]
    assert rows[0] == ["both", 0.5, 0.7, 0.2, 0.3]
    assert rows[1][:2] == ["both, calibrated", 0.6] and all(map(math.isnan, rows[1][2:]))
    assert rows[2][0] == "one" and math.isnan(rows[2][1]) and rows[2][3:] == [0.1, 0.2]
    assert len(rows) == 3


@pytest.mark.parametrize("content", ["", "[]", '{"other": 1}'])
def test_damaged_results_are_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "results.json").write_text(content)
    with pytest.raises(
        UserError, match=r"a/results\.json: not the results of an evaluation .*remove .*/a to evaluate again"
    ):
        outcome(recipe(("a", "evaluate", "both")), lambda name: tmp_path / name)
