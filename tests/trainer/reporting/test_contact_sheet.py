"""The contact sheet: size, colours and order of what is drawn. Whether it is pleasant is for the eye."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import UserError
from trainer.reporting.contact_sheet import BEST, GAP, GREEN, LINE, SIDE, WORST, draw

NOTHING = np.zeros((0, 4), np.float32)
NO_PREDICTION = (NOTHING, np.zeros(0, np.float32))


def sheet_of(tmp_path: Path, images, truths, predictions, **options) -> np.ndarray:
    draw(tmp_path / "sheet.png", images, truths, predictions, [f"image {i}" for i in range(len(images))], **options)
    return np.asarray(Image.open(tmp_path / "sheet.png"))


def first_picture(sheet: np.ndarray) -> np.ndarray:
    top = LINE + 4 + GAP + LINE
    return sheet[top : top + SIDE, GAP : GAP + SIDE]


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour)).all(-1).any())


def test_pictures_of_any_size_become_tiles_of_one_size(tmp_path: Path) -> None:
    images = [np.full(shape, 255, np.uint8) for shape in ((20, 30, 3), (900, 600, 3), (64, 2000, 3))]
    sheet = sheet_of(tmp_path, images, [NOTHING] * 3, [NO_PREDICTION] * 3, columns=2)
    rows = [LINE + SIDE, LINE + round(64 * SIDE / 2000)]  # the first row is as high as its highest picture
    assert sheet.shape == (LINE + 4 + GAP + sum(rows) + 2 * GAP, 2 * SIDE + 3 * GAP, 3)


def test_truth_is_green_and_proposals_are_warm(tmp_path: Path) -> None:
    image = np.full((180, 180, 3), 90, np.uint8)
    truth = np.array([[20, 20, 80, 80]], np.float32)
    boxes = np.array([[100, 30, 150, 60], [100, 100, 150, 150], [30, 100, 80, 150]], np.float32)
    picture = first_picture(sheet_of(tmp_path, [image], [truth], [(boxes, np.array([0.2, 0.9, 0.5]))], top=3))
    truth_part, worst_part = picture[30:170, 30:170], picture[50:130, 190:310]
    between_part, best_part = picture[190:310, 50:170], picture[190:310, 190:310]
    assert has(truth_part, GREEN) and not has(best_part, GREEN) and not has(worst_part, GREEN)
    assert has(best_part, BEST) and has(worst_part, WORST) and not has(worst_part, BEST)
    assert has(between_part, tuple(round((best + worst) / 2) for best, worst in zip(BEST, WORST, strict=True)))


def test_only_the_best_proposals_are_drawn(tmp_path: Path) -> None:
    image = np.full((360, 360, 3), 90, np.uint8)
    boxes = np.array([[10, 10, 100, 100], [200, 200, 300, 300]], np.float32)
    picture = first_picture(sheet_of(tmp_path, [image], [NOTHING], [(boxes, np.array([0.1, 0.9]))], top=1))
    assert (picture[:150, :150] == 90).all()
    assert has(picture[180:, 180:], BEST)


def test_truth_lies_on_top_of_an_equal_proposal(tmp_path: Path) -> None:
    image = np.full((360, 360, 3), 90, np.uint8)
    box = np.array([[100, 100, 260, 260]], np.float32)
    picture = first_picture(sheet_of(tmp_path, [image], [box], [(box, np.array([0.5]))]))
    assert has(picture[255:265, 110:250], GREEN) and not has(picture[255:265, 110:250], BEST)


def test_inverted_and_outlying_boxes_are_drawn_inside_the_picture(tmp_path: Path) -> None:
    image = np.full((100, 100, 3), 90, np.uint8)
    boxes = np.array([[80, 80, 20, 20], [-500, -500, 900, 900]], np.float32)
    picture = first_picture(sheet_of(tmp_path, [image], [NOTHING], [(boxes, np.array([0.9, 0.8]))], top=2))
    assert has(picture[60:80, 70:290], BEST)
    assert has(picture[:5], WORST) and has(picture[-5:], WORST)


def test_the_best_of_equal_proposals_lies_on_top(tmp_path: Path) -> None:
    image = np.full((360, 360, 3), 90, np.uint8)
    boxes = np.array([[100, 100, 260, 260]] * 2, np.float32)
    picture = first_picture(sheet_of(tmp_path, [image], [NOTHING], [(boxes, np.array([0.5, 0.9]))], top=2))
    assert has(picture[255:265, 150:200], BEST) and not has(picture[255:265, 150:200], WORST)


def test_a_sheet_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*/sheet\.png: Is a directory; free some space"):
        sheet_of(tmp_path, [np.zeros((20, 30, 3), np.uint8)], [NOTHING], [NO_PREDICTION])
