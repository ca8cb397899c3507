"""The pictures that ``--draw`` leaves: which detections they show, under which names they lie."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from shared.errors import UserError
from trainer.reporting import picture_folder as pictures
from trainer.reporting.drawing import colour_of
from trainer.reporting.picture_folder import Pictures


class Found(NamedTuple):
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


GREY = np.full((480, 640, 3), 90, np.uint8)
BOXES = np.array([[50, 50, 200, 200], [300, 100, 500, 300]], np.float32)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture, int)


def shows(picture: np.ndarray, name: str) -> bool:
    return int((np.abs(picture - np.array(colour_of(name))).max(-1) < 50).sum()) > 100


def test_only_what_scores_enough_is_drawn(tmp_path: Path) -> None:
    for threshold, seen in ((None, [True, False]), (0.1, [True, True]), (0.9, [False, False])):
        folder = tmp_path / str(threshold)
        Pictures(folder, threshold).add("one", GREY, BOXES, ["cat", "red star"], np.array([0.8, 0.2]))
        drawn = read(folder / "one.jpg")
        assert [shows(drawn, "cat"), shows(drawn, "red star")] == seen


def test_at_most_so_many_are_drawn(tmp_path: Path) -> None:
    boxes = np.array([[7 * n, 300, 7 * n + 6, 400] for n in range(pictures.MOST + 1)], np.float32)
    boxes[-1] = BOXES[1]
    names = ["cat"] * pictures.MOST + ["red star"]
    Pictures(tmp_path, 0.0).add("one", GREY, boxes, names, np.linspace(1, 0.5, len(boxes)))
    drawn = read(tmp_path / "one.jpg")
    assert shows(drawn, "cat") and not shows(drawn, "red star")


def test_the_colours_of_the_image_are_not_swapped(tmp_path: Path) -> None:
    blue = np.zeros((480, 640, 3), np.uint8)
    blue[..., 0] = 255  # BGR
    Pictures(tmp_path, None).add("one", blue, np.zeros((0, 4)), [], np.zeros(0))
    assert read(tmp_path / "one.jpg")[240, 320].argmax() == 2


def test_a_batchs_images_are_drawn_without_padding_with_boxes_in_their_own_pixels(tmp_path: Path) -> None:
    images = np.full((2, 480, 640, 3), 90, np.uint8)
    host = {
        "image_ids": np.array([7, 9]),
        "image_shapes": np.array([[480, 640], [464, 624]], np.int32),
        "scale_factors": np.full((2, 4), 0.5, np.float32),  # detections are in pixels of an original twice as large
        "box_counts": np.array([1, 2], np.int32),
        "boxes": np.array([[[10, 400, 60, 460], [0, 0, 0, 0]], [[10, 400, 60, 460], [70, 400, 120, 460]]], np.float32),
        "labels": np.zeros((2, 2), np.int32),
    }
    found = Found(BOXES * 2, np.array([0.9, 0.8], np.float32), np.array([1, 0], np.int32))
    Pictures(tmp_path, None).add_batch(images, host, [found, found], ["cat", "red star"])
    drawn = read(tmp_path / "7.jpg")
    assert drawn.shape[:2] == (480, 640) and read(tmp_path / "9.jpg").shape[:2] == (464, 624)
    assert shows(drawn[45:75, 40:210], "red star") and shows(drawn[280:310, 290:510], "cat")
    Pictures(tmp_path / "agnostic", None).add_batch(images, host, [found], [])
    assert [path.name for path in (tmp_path / "agnostic").iterdir()] == ["7.jpg"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        Pictures(tmp_path / "file" / "drawn", None)
