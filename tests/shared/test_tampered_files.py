"""Tampered files of users: embeddings, their names, counts of categories, annotations."""

from pathlib import Path

import numpy as np

from shared import category_counts, coco
from shared.embeddings import names_file, read_embeddings, read_names
from tests import tampering


def test_embeddings(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(8, dtype=np.float32).reshape(2, 4))
    refused = tampering.assert_safe(
        path,
        tampering.npy_files(path.read_bytes()),
        lambda: read_embeddings(path),
        lambda rows: rows.ndim == 2 and rows.dtype == np.float32 and bool(np.isfinite(rows).all()) and rows.size == 8,
    )
    assert refused > 40


def test_embeddings_that_float32_has_no_room_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((2, 2), 1e300))
    refused = tampering.assert_safe(
        tmp_path / "a.npy",
        iter([("too large", (tmp_path / "a.npy").read_bytes())]),
        lambda: read_embeddings(tmp_path / "a.npy"),
        lambda _: False,
    )
    assert refused == 1


def test_names(tmp_path: Path) -> None:
    path = names_file(tmp_path / "a.npy")
    refused = tampering.assert_safe(
        path,
        tampering.json_files(["cat", "red star", "dog"]),
        lambda: read_names(tmp_path / "a.npy"),
        lambda names: isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names),
    )
    assert refused > 60


def test_counts_of_categories(tmp_path: Path) -> None:
    path = tmp_path / "info.json"
    tree = [{"id": number, "name": f"class {number}", "image_count": number} for number in (3, 1)]
    for key, right in (
        ("image_count", lambda values: all(type(value) is int and value >= 0 for value in values)),
        ("name", lambda values: all(isinstance(value, str) for value in values)),
    ):
        refused = tampering.assert_safe(
            path, tampering.json_files(tree), lambda key=key: category_counts.by_name(str(path), key, None), right
        )
        assert refused > 20


ANNOTATIONS = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}],
    "annotations": [{"id": 5, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4.5], "area": 13.5, "iscrowd": 0}],
    "categories": [{"id": 2, "name": "cat"}],
}


def test_annotations(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    refused = tampering.assert_safe(
        path,
        tampering.json_files(ANNOTATIONS),
        lambda: coco.read_strictly(path),
        lambda content: all(
            np.isfinite(np.array(one["bbox"], np.float64)).all() and len(one["bbox"]) == 4
            for one in content["annotations"]
        ),
    )
    assert refused > 100
