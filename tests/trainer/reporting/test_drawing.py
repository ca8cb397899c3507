"""Drawing: colours of names, sizes, and where labels lie. Whether it is pleasant is for the eye."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from trainer.reporting import drawing
from trainer.reporting.drawing import Labels, colour_of, overlap

GREY = 90


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((picture == np.array(colour)).all(-1).mean())


def labels(size: tuple[int, int]) -> tuple[ImageDraw.ImageDraw, Labels]:
    return ImageDraw.Draw(Image.new("RGB", size)), Labels(size, ImageFont.load_default(14))


def test_a_name_has_one_colour_and_other_names_mostly_others() -> None:
    assert colour_of("red star") == colour_of("red star") == (255, 25, 247)
    assert len({colour_of(f"class {number}") for number in range(40)}) >= 36


@pytest.mark.parametrize("size", [(40, 60), (480, 640), (1500, 1000), (3000, 4000)])
def test_lines_and_labels_take_the_same_share_of_pictures_of_every_size(size: tuple[int, int]) -> None:
    height, width = size
    box = np.array([[0.2 * width, 0.3 * height, 0.8 * width, 0.9 * height]])
    picture = drawing.draw(grey(height, width), box, ["cat"], np.array([0.87]))
    assert max(picture.shape) >= drawing.SMALLEST_SIDE
    assert picture.shape[0] / picture.shape[1] == pytest.approx(height / width, rel=0.02)
    assert 0.006 < share(picture, colour_of("cat")) < 0.03


def test_a_box_is_where_it_was_found() -> None:
    picture = drawing.draw(grey(500, 600), np.array([[100, 200, 400, 300]]), [""], np.array([0.5]))
    coloured = (picture == np.array(colour_of(""))).all(-1)
    rows, columns = np.flatnonzero(coloured[:, 250]), np.flatnonzero(coloured[250])
    assert {*(np.round(rows, -1))} == {200, 300} and {*(np.round(columns, -1))} == {100, 400}
    small = drawing.draw(grey(50, 60), np.array([[10, 20, 40, 30]]), [""], np.array([0.5]))
    scale = small.shape[1] / 60
    rows = np.flatnonzero((small == np.array(colour_of(""))).all(-1)[:, round(25 * scale)])
    assert abs(rows.min() - 20 * scale) < 3 and abs(rows.max() - 30 * scale) < 3


def test_boxes_that_are_inverted_or_reach_out_are_drawn_inside() -> None:
    boxes = np.array([[-900, -900, 900, 900], [80, 70, 20, 30]])
    picture = drawing.draw(grey(500, 500), boxes, ["a", "b"], np.array([0.5, 0.4]))
    edge = np.concatenate([picture[1:4].reshape(-1, 3), picture[-4:-1].reshape(-1, 3)])
    assert share(edge, colour_of("a")) > 0.4
    assert share(picture[25:80, 15:90], colour_of("b")) > 0


def test_no_label_leaves_the_picture_nor_covers_another() -> None:
    rng = np.random.default_rng(0)
    canvas, found = labels((400, 300))
    for number in range(120):
        corner = rng.uniform(-20, [400, 300])
        found.write(canvas, (*corner, *(corner + rng.uniform(2, 90, 2))), f"name {number}", (255, 0, 0))
    assert 20 < len(found.taken) < 120
    for index, one in enumerate(found.taken):
        assert one[0] >= 0 and one[1] >= 0 and one[2] <= 400 and one[3] <= 300
        assert all(overlap(one, other) == 0 for other in found.taken[:index])


def test_a_label_that_is_wider_than_the_picture_is_omitted() -> None:
    canvas, found = labels((100, 100))
    found.write(canvas, (10, 10, 50, 50), "a name that is far too long for this picture", (255, 0, 0))
    assert found.taken == []


def test_a_label_keeps_off_a_small_box_beside_it() -> None:
    canvas, found = labels((400, 300))
    large, small = (100, 100, 300, 250), (100, 82, 140, 98)
    found.boxes = [large, small]
    found.write(canvas, large, "dining table", (255, 0, 0))
    assert overlap(found.taken[0], small) == 0


def test_a_label_ends_with_its_box_where_that_is_the_place_that_is_free() -> None:
    canvas, found = labels((400, 300))
    found.taken = [(90, 70, 240, 280)]
    found.write(canvas, (100, 100, 300, 250), "cat", (255, 0, 0))
    assert found.taken[-1][2] == 300


def test_the_best_scored_is_labelled_where_there_is_room_for_one() -> None:
    box = np.array([[40, 40, 60, 60]] * 60)
    scores = np.linspace(0.1, 0.9, 60)
    names = [f"n{number}" for number in range(60)]
    picture = drawing.draw(grey(500, 500), box, names, scores)
    best = share(picture, colour_of(names[-1]))
    assert best > 0 and best >= max(share(picture, colour_of(name)) for name in names[:20])


def test_the_truth_is_dashed_and_lies_on_top() -> None:
    box = np.array([[100, 100, 400, 400]])
    picture = drawing.draw(grey(500, 500), box, [""], np.array([0.5]), truths=box)
    line = picture[250:390, 100]
    white = (line == 255).all(-1)
    assert 0.3 < white.mean() < 0.9 and np.count_nonzero(np.diff(white)) >= 6


def test_nothing_found_leaves_the_image_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 255, (500, 600, 3)).astype(np.uint8)
    np.testing.assert_array_equal(drawing.draw(image, np.zeros((0, 4)), [], np.zeros(0)), image)


def test_of_a_bundle_of_boxes_the_best_is_shown() -> None:
    boxes = np.array([[0, 0, 100, 100], [2, 0, 102, 100], [0, 0, 100, 98], [0, 0, 50, 50], [200, 0, 300, 100]])
    scores = np.array([0.5, 0.9, 0.8, 0.7, 0.1])
    assert drawing.distinct(boxes, scores, 0.0, 10) == [1, 3, 4]
    assert drawing.distinct(boxes, scores, 0.3, 10) == [1, 3]
    assert drawing.distinct(boxes, scores, 0.0, 1) == [1]
