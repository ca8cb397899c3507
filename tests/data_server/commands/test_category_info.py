"""category-info: images and boxes of each category, in a list beside the annotation file."""

import json
from pathlib import Path

import pytest

from data_server.__main__ import main
from data_server.commands import category_info as info
from data_server.files.index.cache import index_or_none
from shared.errors import UserError
from tests.data_server import annotation_files


def write(path: Path, pairs: list[tuple[int, int]]) -> Path:
    """An annotation file with one box for each (category, image)."""
    categories = [{"id": 7, "name": "dog", "frequency": "f"}, {"id": 2, "name": "cat"}, {"id": 4, "name": "owl"}]
    boxes = [{"id": i, "category_id": category, "image_id": image} for i, (category, image) in enumerate(pairs)]
    path.write_text(json.dumps({"images": [], "annotations": boxes, "categories": categories}))
    return path


def test_images_are_counted_once_and_boxes_each(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = write(tmp_path / "train.json", [(7, 1), (7, 1), (7, 3), (2, 1)])
    assert main(["category-info", "--annotations", str(source)]) == 0
    target = tmp_path / "train_cat_info.json"
    assert capsys.readouterr().out.strip() == str(target)
    assert json.loads(target.read_text()) == [
        {"id": 7, "name": "dog", "frequency": "f", "image_count": 2, "instance_count": 3},
        {"id": 2, "name": "cat", "image_count": 1, "instance_count": 1},
        {"id": 4, "name": "owl", "image_count": 0, "instance_count": 0},
    ]


def test_an_annotation_of_no_category_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = write(tmp_path / "train.json", [(7, 1), (9, 1)])
    assert main(["category-info", "--annotations", str(source)]) == 2
    assert "annotations[1] is of category 9" in capsys.readouterr().err
    assert not (tmp_path / "train_cat_info.json").exists()


def test_an_index_counts_as_the_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    for seed in range(60):
        source = tmp_path / f"{seed}.json"
        source.write_text(annotation_files.text(seed), encoding="utf-8")
        indexed = answer(source)
        counted += index_or_none(source, print) is not None and not isinstance(indexed, str)
        with monkeypatch.context() as patch:
            patch.setattr(info, "index_or_none", lambda *_: None)
            assert answer(source) == indexed, seed
    assert counted > 15


def answer(source: Path) -> str | bytes:
    try:
        return info.category_info(source).read_bytes()
    except UserError as error:
        return str(error)
