"""The benchmark of evaluations in its smallest form: both sides run over the same, and their numbers are compared."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from benchmarks import evaluation
from benchmarks.annotation_file import write


def test_both_sides_judge_the_same_detections(tmp_path):
    write(tmp_path / "a.json", 20)
    first, again = ([*evaluation.detections(tmp_path / "a.json", 30)] for _ in range(2))
    assert [identity for identity, _ in first] == list(range(1, 21))
    for (_, one), (_, other) in zip(first, again, strict=True):
        assert all(len(array) == 30 for array in one)
        for array, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, same)


@pytest.mark.long
def test_a_small_evaluation_has_equal_numbers_and_costs(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluation", "--images", "60", "--boxes", "20", "--folder", str(tmp_path)])
    evaluation.main()
    found = json.loads((tmp_path / "evaluation.json").read_text())["sides"]
    assert found["equal numbers"]["count"] > 80
    assert all(found[name]["cpu"] > 0 for name in (evaluation.OURS, evaluation.AGAIN, evaluation.THEIRS))


def test_another_number_ends_the_benchmark():
    assert evaluation.equal({"a": 0.5, "b": np.nan}, {"a": 0.5 + 1e-7, "b": np.nan}) == 2
    with pytest.raises(SystemExit, match=r"a is 0\.5, MMDetection's is 0\.50001"):
        evaluation.equal({"a": 0.5}, {"a": 0.50001})
    with pytest.raises(SystemExit, match="not both have"):
        evaluation.equal({"a": 0.5}, {})


@pytest.mark.slow
def test_lvis_says_the_same_of_all_classes_at_once_and_one_part_after_the_other(tmp_path):
    path, kind = tmp_path / "a.json", evaluation.KINDS["lvis"]
    write(path, 6, kind.form)
    whole, parts = (evaluation._theirs(kind, path, 20, classes)[evaluation.THEIRS] for classes in (None, 500))
    assert evaluation.equal(parts["numbers"], whole["numbers"]) == 1212
    assert sum(value > 0 for value in whole["numbers"].values()) > 10
    assert parts["peak"] < whole["peak"] and [one.name for one in tmp_path.iterdir()] == ["a.json"]
