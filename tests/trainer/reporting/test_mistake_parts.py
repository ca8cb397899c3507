"""The report's parts on mistakes: figures, names and pictures."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.reporting.matches import Result
from trainer.reporting.mistake_parts import mistake_parts
from trainer.reporting.mistakes import find
from trainer.reporting.parts.curves import Curves
from trainer.reporting.parts.gallery import Gallery
from trainer.reporting.parts.table import Table
from trainer.reporting.parts.text import Text

NAMES = ["cat", "dog", "red star"]
CAT, DOG = [0, 0, 40, 40], [50, 0, 90, 40]


def image(title: str, boxes: list, scores: list[float], labels: list[int], there: dict[int, list]) -> Result:
    detected = np.array(boxes, float).reshape(-1, 4), np.array(scores), np.array(labels, int)
    return Result(title, *detected, np.array([*there.values()], float).reshape(-1, 4), np.array([*there], int))


@pytest.fixture
def results() -> list[Result]:
    both = {0: CAT, 1: DOG}
    return [
        image("right", [CAT, DOG], [0.9, 0.8], [0, 1], both),
        image("a star", [CAT, DOG], [0.7, 0.6], [2, 2], both),
        image("two stars", [CAT, DOG], [0.95, 0.85], [2, 2], both),
        image("nothing", [], [], [], both),
        image("twice", [CAT, CAT, DOG], [0.9, 0.8, 0.5], [0, 0, 1], both),
    ]


def parts_of(results: list[Result], asked: list[int]) -> list:
    def load(index: int) -> np.ndarray:
        asked.append(index)
        return np.full((60, 100, 3), 90, np.uint8)

    return list(mistake_parts(find(results), results, NAMES, load))


def test_a_table_says_how_many_there_are_of_each_kind_and_what_they_cost(results: list[Result]) -> None:
    table, *_ = parts_of(results, [])
    assert isinstance(table, Table)
    rows = {row[0]: row[2] for row in table.rows}
    assert rows == {"Classification": 4, "Localisation": 0, "Both": 0, "Duplicate": 1, "Background": 0, "Missed": 2}
    costs = {row[0]: row[3] for row in table.rows}
    assert costs["Classification"] > costs["Missed"] > 0 == costs["Localisation"]


def test_names_that_are_taken_for_others_are_counted_against_all_of_their_objects_and_have_pictures(
    results: list[Result],
) -> None:
    asked: list[int] = []
    confusions = parts_of(results, asked)[1]
    assert isinstance(confusions, Curves) and asked[:4] == [2, 1, 2, 1]
    assert [list(row.cells) for row in confusions.rows] == [["cat", "red star", 2, 5], ["dog", "red star", 2, 5]]
    shown = [(picture.title, picture.note) for picture in confusions.rows[1].pictures]
    assert shown == [
        ("two stars", "“red star” with 0.85; there is “dog”"),
        ("a star", "“red star” with 0.60; there is “dog”"),
    ]
    assert confusions.rows[1].note.startswith("2 images, ")


def test_each_kind_shows_its_most_confident_mistake_of_each_image(results: list[Result]) -> None:
    asked: list[int] = []
    galleries = [part for part in parts_of(results, asked) if isinstance(part, Gallery)]
    assert [gallery.title.split(":")[0] for gallery in galleries] == ["Classification", "Duplicate", "Missed"]
    shown = [(picture.title, picture.note) for picture in galleries[0].pictures]
    assert shown == [
        ("two stars", "“red star” with 0.95; there is “cat”"),
        ("a star", "“red star” with 0.70; there is “cat”"),
    ]
    assert galleries[1].pictures[0].note == "“cat” with 0.80; there is “cat”"
    assert galleries[2].pictures[0].note == "there is “cat”" and galleries[2].pictures[0].title == "nothing"
    assert asked[4:] == [2, 1, 4, 3] and all(gallery.folded for gallery in galleries)
    assert (galleries[0].pictures[0].image != 90).any()


def test_the_very_first_object_is_shown_like_any_other() -> None:
    parts = parts_of([image("a star", [CAT], [0.7], [2], {0: CAT})], [])
    (gallery,) = [part for part in parts if isinstance(part, Gallery)]
    assert [picture.note for picture in gallery.pictures] == ["“red star” with 0.70; there is “cat”"]


def test_where_nothing_is_annotated_nothing_is_judged() -> None:
    (text,) = parts_of([image("empty", [CAT], [0.9], [0], {})], [])
    assert isinstance(text, Text) and text.text.startswith("No object is annotated")
