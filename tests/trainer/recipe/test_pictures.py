"""The pictures of an evaluation: which of them, in which order, with which ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import UserError
from tests.trainer.recipe.finished import IMAGES, write
from trainer.recipe.pictures import pictures
from trainer.recipe.steps import Step


@pytest.fixture
def step(tmp_path: Path) -> Step:
    recipe, _ = write(tmp_path)
    return next(one for one in recipe.steps if one.name == "both")


def test_the_best_image_is_first_and_those_without_objects_are_in_neither_gallery(step: Step, tmp_path: Path) -> None:
    best, worst = pictures(step, tmp_path / "both")
    assert best.pictures[0].title == "image_0.jpg"
    assert best.pictures[0].note == "AP50 1.00; 2 of 2 objects among its first 2 detections"
    titles = [picture.title for picture in (*best.pictures, *worst.pictures)]
    assert sorted(titles) == [f"image_{number}.jpg" for number in range(IMAGES - 1)]  # the last one has a crowd only
    assert worst.pictures[0].note.startswith("AP50 0.00; 0 of 2")


def test_labels_are_those_of_the_vocabulary_not_of_the_file(step: Step, tmp_path: Path) -> None:
    step.config.val_dataloader.dataset.metainfo = {"classes": ["dog", "cat"]}
    best, _ = pictures(step, tmp_path / "both")
    assert best.pictures[0].note.startswith("AP50 0.00")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"images": []}', '{"images": [{}], "annotations": [], "categories": []}']
)
def test_annotations_of_another_format_have_no_pictures(step: Step, tmp_path: Path, content: str) -> None:
    (tmp_path / "data" / "val.json").write_text(content)
    assert pictures(step, tmp_path / "both") == []


def test_an_evaluation_that_kept_no_predictions_has_no_pictures(step: Step, tmp_path: Path) -> None:
    (tmp_path / "both" / "predictions_val.npz").unlink()
    assert pictures(step, tmp_path / "both") == []


def test_a_picture_that_cannot_be_read_is_named(step: Step, tmp_path: Path) -> None:
    (tmp_path / "data" / "val" / "image_0.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"picture .*image_0\.jpg"):
        pictures(step, tmp_path / "both")


def test_annotations_with_crowds_only_judge_nothing(step: Step, tmp_path: Path) -> None:
    path = tmp_path / "data" / "val.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"annotations": [one | {"iscrowd": 1} for one in content["annotations"]]}))
    assert [gallery.pictures for gallery in pictures(step, tmp_path / "both")] == [[], []]
