"""What somebody who looks at a run is shown of its batch, and what a run does without anybody."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.batch import blank_arrays
from trainer.batch import Batch
from trainer.training import onlooker
from trainer.training.onlooker import BATCH_FILE, WANTED_FILE, Onlooker

CLASSES = [["cat", "dog"], ["tree"]]


def batch(images: int = 3, valid: int = 2, height: int = 64, width: int = 96) -> Batch:
    """Blue images, the second half as high; a box in each, the second's of another data set; then a crowd."""
    arrays = blank_arrays(images, height, width)
    arrays["image_shapes"][:] = (height, width)
    arrays["image_shapes"][1] = (height // 2, width)
    for row in range(images):
        rows, columns = arrays["image_shapes"][row]
        arrays["images"][row, :rows, :columns] = (255, 0, 0)
    arrays["box_counts"][:] = 1
    arrays["boxes"][:, :2] = [(8, 4, 24, 20), (0, 0, 90, 60)]
    arrays["labels"][:, 0] = 1
    arrays["ignored"][:, 1] = 1
    arrays["dataset_ids"][1], arrays["labels"][1, 0] = 1, 0
    return Batch.from_arrays(arrays, step=6, valid=valid)


def test_nothing_is_drawn_before_somebody_asks_and_one_batch_for_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onlooker, "SECONDS", 0.0)
    watching = Onlooker(tmp_path, CLASSES, pytest.fail)
    watching.show(batch())
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        (tmp_path / WANTED_FILE).touch()
        watching.show(batch())
        assert [path.name for path in tmp_path.iterdir()] == [BATCH_FILE]
        (tmp_path / BATCH_FILE).unlink()
    watching.show(batch())
    assert list(tmp_path.iterdir()) == []


def test_who_asks_again_and_again_gets_no_second_batch_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(onlooker.time, "monotonic", lambda: now)
    watching = Onlooker(tmp_path, CLASSES, pytest.fail)
    for now, drawn in ((100.0, True), (101.9, False), (102.0, True), (103.9, False)):
        (tmp_path / WANTED_FILE).touch()
        watching.show(batch())
        assert (tmp_path / BATCH_FILE).exists() == drawn, now
        (tmp_path / BATCH_FILE).unlink(missing_ok=True)


def test_what_is_shown_are_the_contents_in_their_colours_with_the_boxes_to_train_on(tmp_path: Path) -> None:
    (tmp_path / WANTED_FILE).touch()
    Onlooker(tmp_path, CLASSES, pytest.fail).show(batch())
    found = json.loads((tmp_path / BATCH_FILE).read_text())
    assert found["step"] == 7
    assert [(one["width"], one["height"], one["boxes"]) for one in found["images"]] == [
        (96, 64, [{"bbox": [8, 4, 16, 16], "name": "dog"}]),
        (96, 32, [{"bbox": [8, 4, 16, 16], "name": "tree"}]),
    ]
    for one in found["images"]:
        picture = Image.open(io.BytesIO(base64.b64decode(one["jpeg"])))
        assert picture.size == (one["width"], one["height"])
        assert np.abs(np.asarray(picture).astype(int) - (0, 0, 255)).max() < 4


def test_a_detector_that_tells_no_classes_apart_has_boxes_without_names(tmp_path: Path) -> None:
    unnamed = batch()
    unnamed.host["labels"][:] = 0
    (tmp_path / WANTED_FILE).touch()
    Onlooker(tmp_path, [], pytest.fail).show(unnamed)
    images = json.loads((tmp_path / BATCH_FILE).read_text())["images"]
    assert [one["boxes"] for one in images] == [[{"bbox": [8, 4, 16, 16], "name": ""}]] * 2


def test_large_batches_are_shown_in_part_and_large_images_smaller_with_boxes_in_their_own_pixels(
    tmp_path: Path,
) -> None:
    (tmp_path / WANTED_FILE).touch()
    Onlooker(tmp_path, CLASSES, pytest.fail).show(batch(images=10, valid=10, height=32, width=1600))
    images = json.loads((tmp_path / BATCH_FILE).read_text())["images"]
    assert len(images) == 8
    assert (images[0]["width"], images[0]["boxes"][0]["bbox"]) == (1600, [8, 4, 16, 16])
    assert Image.open(io.BytesIO(base64.b64decode(images[0]["jpeg"]))).size == (800, 16)


def test_a_batch_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / WANTED_FILE).touch()
    (tmp_path / BATCH_FILE).mkdir()
    said: list[str] = []
    Onlooker(tmp_path, CLASSES, said.append).show(batch())
    assert said == [f"cannot write {tmp_path / BATCH_FILE}: Is a directory; the run continues, free some space"]
