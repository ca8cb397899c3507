"""Predictions beside an annotation file: which boxes and labels belong to which image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from tests.photos import CLASSES, CROWD, EMPTY, annotations_of
from trainer.ground_truth import results_of
from trainer.highlights import judge


def perfect(photos: Path, classes: list[str]) -> dict[str, np.ndarray]:
    """The annotations themselves as predictions, the images in another order than in the file."""
    content = annotations_of(photos)
    numbers = [image["id"] for image in content["images"]][::-1]
    names = {category["id"]: category["name"] for category in content["categories"]}
    own = [[one for one in content["annotations"] if one["image_id"] == n and not one["iscrowd"]] for n in numbers]
    boxes = np.array([one["bbox"] for ones in own for one in ones], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    labels = [classes.index(names[one["category_id"]]) if classes else 0 for ones in own for one in ones]
    return {
        "image_ids": np.array(numbers),
        "counts": np.array([len(ones) for ones in own], np.int32),
        "boxes": boxes,
        "scores": np.ones(len(boxes), np.float32),
        "labels": np.array(labels, np.int32),
    }


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[::-1], []])
def test_predictions_that_are_the_annotations_are_perfect_whatever_the_order_of_the_names(
    photos: Path, classes: list[str]
) -> None:
    found, paths = results_of(perfect(photos, classes), photos / "all.json", photos / "images", classes)
    assert [path.name for path in paths] == [f"{number:02}.jpg" for number in range(11, -1, -1)]
    assert all(path.is_file() for path in paths) and found[0].title == "11"
    verdicts = [judge(one) for one in found]
    assert all(verdict.precision == 1.0 for verdict in verdicts if verdict.truths)
    assert [verdict.truths for verdict in verdicts][:2] == [0, 1] and (EMPTY, CROWD) == (11, 10)


def test_annotations_of_names_outside_the_vocabulary_are_left_out(photos: Path) -> None:
    found, _ = results_of(perfect(photos, CLASSES), photos / "all.json", photos / "images", CLASSES[:1])
    assert {label for one in found for label in one.truth_labels} == {0}


def test_another_file_and_a_missing_image_are_told(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match=r"list\.json: cannot be read as COCO's format"):
        results_of(perfect(photos, []), tmp_path / "list.json", photos, [])
    predictions = perfect(photos, []) | {"image_ids": np.arange(12)}
    with pytest.raises(UserError, match="no image 0"):
        results_of(predictions, photos / "all.json", photos, [])
