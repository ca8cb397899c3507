"""Classes and the rows of a config's text embeddings are compared by number and by name."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from data_server.checks.vocabulary import check, compare
from shared.embeddings import IN_ORDER, names_file

CLASSES = ["cup", "table lamp", "shoe"]


def vocabulary(folder: Path, names: list[str] | None = None, rows: int = 3) -> str:
    path = folder / f"{rows}.npy"
    np.save(path, np.zeros((rows, 8), np.float16))
    if names is not None:
        names_file(path).write_text(json.dumps(names))
    return str(path)


def found(head: dict[str, Any], number: int = 0, training: bool = True, classes: list[str] = CLASSES) -> list[str]:
    findings = Findings()
    compare(classes, head, number, training, findings)
    return [str(finding) for finding in findings]


def test_the_same_names_in_the_same_order_are_fine(tmp_path: Path) -> None:
    assert found({"zeroshot_path": vocabulary(tmp_path, CLASSES)}) == []


def test_rows_in_another_order_are_found_by_name(tmp_path: Path) -> None:
    path = vocabulary(tmp_path, ["shoe", "table lamp", "cup"])
    assert found({"zeroshot_path": path}) == [
        f"ERROR   2 rows of another name than the class's in {names_file(path)}: "
        "row 0: 'shoe' for 'cup', row 2: 'cup' for 'shoe'",
        f"ERROR   the names are the same in another order: {IN_ORDER}",
    ]


def test_another_number_of_rows_is_an_error(tmp_path: Path) -> None:
    (line,) = found({"zeroshot_path": vocabulary(tmp_path, rows=4)})
    assert line.startswith("ERROR   text embeddings") and line.endswith("have 4 rows, the data set has 3 classes")


def test_rows_without_names_are_told(tmp_path: Path) -> None:
    (line,) = found({"zeroshot_path": vocabulary(tmp_path)})
    assert line.startswith("warning nothing says in which order") and "3.names.json" in line


def test_embeddings_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    (line,) = found({"zeroshot_path": str(tmp_path / "none.npy")})
    assert line.startswith(f"ERROR   text embeddings: cannot read '{tmp_path / 'none.npy'}' as a .npy file: ")


def test_each_training_set_has_its_own_vocabulary_and_tests_have_one(tmp_path: Path) -> None:
    good, bad = vocabulary(tmp_path, CLASSES), vocabulary(tmp_path, rows=5)
    head = {"zeroshot_path": [bad, good]}
    assert found(head, number=1) == []
    assert "5 rows" in found(head, number=0)[0]
    assert "5 rows" in found(head, number=1, training=False)[0]
    assert found({**head, "test_vocabulary": 1}, training=False) == []
    assert found(head, number=2) == [
        "ERROR   no text embeddings: zeroshot_path has no entry for data set 2 (counted from 0)"
    ]


def test_image_counts_must_be_there_and_of_the_same_classes(tmp_path: Path) -> None:
    head = {"zeroshot_path": vocabulary(tmp_path, CLASSES), "cat_freq_path": str(tmp_path / "counts.json")}
    (line,) = found(head)
    assert line.startswith("ERROR   cat_freq_path") and "category-info writes one" in line
    categories = [{"id": 9 - i, "name": name, "image_count": 1} for i, name in enumerate(CLASSES[::-1])]
    (tmp_path / "counts.json").write_text(json.dumps(categories))
    assert found(head) == []
    assert found(head, training=False) == []
    categories[0]["name"] = "boot"
    (tmp_path / "counts.json").write_text(json.dumps(categories))
    (line,) = found(head)
    assert line.startswith("ERROR   cat_freq_path: ") and "has no category 'shoe', which is a class" in line


def test_a_head_without_names_is_not_compared() -> None:
    assert found({"type": "Shared2FCBBoxScoreHead"}) == []


@pytest.mark.parametrize(
    ("whole", "told"),
    [
        (None, False),
        (SimpleNamespace(classes=["cup"], class_agnostic=True), False),
        (SimpleNamespace(classes=["cup"], class_agnostic=False), True),
    ],
)
def test_only_a_data_set_that_could_be_built_and_tells_classes_apart_is_compared(whole: Any, told: bool) -> None:
    found = Findings()
    subject = Subject("train", 0, {}, {"zeroshot_path": []}, None, whole=whole)
    assert check(subject, found) == ""
    assert [str(finding) for finding in found] == (
        ["ERROR   no text embeddings: zeroshot_path has no entry for data set 0 (counted from 0)"] if told else []
    )
