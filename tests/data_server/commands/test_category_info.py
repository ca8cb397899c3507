"""category-info: images and boxes of each category, in a list beside the annotation file."""

import json
from pathlib import Path

import pytest

from data_server.__main__ import main


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
