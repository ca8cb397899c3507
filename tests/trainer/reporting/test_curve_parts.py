"""Precision by recall in the report: of sizes, data sets and classes, each with pictures of its mistakes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from tests.browser import chromium
from tests.trainer.reporting import scenes
from tests.trainer.reporting.test_mistakes import precisions_of
from trainer.reporting import curve_parts as module
from trainer.reporting import html
from trainer.reporting.curve_parts import curve_parts
from trainer.reporting.html import Report, Section
from trainer.reporting.judged import Judged
from trainer.reporting.matches import Result
from trainer.reporting.mistakes import find
from trainer.reporting.parts.curves import Curve, Curves
from trainer.reporting.parts.figure import Figure

CAT, DOG = [0, 0, 40, 40], [50, 0, 90, 40]
GREY = np.full((60, 100, 3), 90, np.uint8)


def image(title: str, boxes: list, scores: list[float], labels: list[int], there: dict[int, list]) -> Result:
    detected = np.array(boxes, float).reshape(-1, 4), np.array(scores), np.array(labels, int)
    return Result(title, *detected, np.array([*there.values()], float).reshape(-1, 4), np.array([*there], int))


def judged_of(results: Sequence[Result], names: list[str], *sources: int) -> Judged:
    """`sources`: to which data set each label belongs."""
    called = ["cars", "shop"][: max(sources, default=0) + 1]
    return Judged(results, names, lambda _: GREY, called, np.array(sources or [0] * len(names)), "The rule.")


def parts_of(judged: Judged) -> dict[str, Curves]:
    return {part.title: part for part in curve_parts(find(judged.results), judged) if isinstance(part, Curves)}


def rows_of(part: Curves) -> dict[str, list]:
    return {str(row.cells[0]): list(row.cells[1:]) for row in part.rows}


@pytest.fixture
def one() -> Judged:
    """A cat that is always found, a dog that is taken for a star once and missed once, an owl that nobody mentions."""
    both = {0: CAT, 1: DOG}
    results = [
        image("right.jpg", [CAT, DOG], [0.9, 0.8], [0, 1], both),
        image("a star.jpg", [CAT, DOG], [0.9, 0.6], [0, 2], both),
        image("no dog.jpg", [CAT], [0.9], [0], both),
    ]
    return judged_of(results, ["cat", "dog", "star", "owl"])


def test_a_class_has_its_ap_its_objects_and_its_wrong_detections_and_the_worst_is_first(one: Judged) -> None:
    part = parts_of(one)["By class"]
    assert list(part.header) == ["class", "AP50", "objects", "found", "wrong"]
    assert list(rows_of(part)) == ["dog", "cat", "star"]
    assert rows_of(part) == {
        "dog": [pytest.approx(34 / 101), 3, 1, 0],
        "cat": [1.0, 3, 3, 0],
        "star": [pytest.approx(np.nan, nan_ok=True), 0, 0, 1],
    }
    assert "1 more of the 4 classes have neither" in part.note
    assert not part.rows[2].precisions  # no object, no curve


def test_behind_a_class_are_the_images_with_what_is_wrong_of_it_and_what_is_not_found(one: Judged) -> None:
    dog, cat, star = parts_of(one)["By class"].rows
    assert [(picture.title, picture.note) for picture in dog.pictures] == [
        ("a star.jpg", "1 of 1 objects not found"),
        ("no dog.jpg", "1 of 1 objects not found"),
    ]
    assert dog.note == "Images with mistakes: a star.jpg, no dog.jpg."
    assert not cat.pictures and cat.note == "No image with a mistake."
    assert [picture.note for picture in star.pictures] == ["1 wrong, the first “star” with 0.60"]
    assert (star.pictures[0].image != 90).any()


def test_images_with_wrong_detections_and_with_lost_objects_come_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMED", 3)
    wrong = [image(f"wrong {score}", [DOG], [score], [0], {}) for score in (0.5, 0.7)]
    lost = [image(f"lost {side}", [], [], [], {0: [0, 0, side, side]}) for side in (50, 60)]
    (row,) = parts_of(judged_of([*wrong, *lost], ["cat"]))["By class"].rows
    assert [picture.title for picture in row.pictures] == ["wrong 0.7", "lost 60", "wrong 0.5", "lost 50"]
    assert row.note == "Images with mistakes: wrong 0.7, lost 60, wrong 0.5 and 1 more."


def test_a_size_and_a_data_set_have_rows_too_and_one_data_set_alone_has_none(one: Judged) -> None:
    assert list(parts_of(one)) == ["By size", "By class"]
    sizes = rows_of(parts_of(one)["By size"])
    assert np.isnan(sizes["small"][0]) and np.isnan(sizes["large"][0])
    assert sizes["medium"] == [pytest.approx((1 + 34 / 101) / 2), 6, 4, 1]

    apart = [
        *one.results[:2],
        image("shop.jpg", [CAT], [0.9], [4], {4: CAT, 5: DOG}),
    ]
    several = judged_of(apart, [*one.names, "cat", "crate"], 0, 0, 0, 0, 1, 1)
    figures = [part for part in curve_parts(find(apart), several) if isinstance(part, Figure)]
    assert [series.name for series in figures[1].chart.series] == ["all", "cars", "shop"]
    parts = parts_of(several)
    assert rows_of(parts["By data set"]) == {
        "cars": [pytest.approx((1 + 51 / 101) / 2), 4, 3, 1],
        "shop": [0.5, 2, 1, 0],
    }
    assert [picture.title for picture in parts["By data set"].rows[1].pictures] == ["shop.jpg"]
    classes = [tuple(row.cells[:2]) for row in parts["By class"].rows]
    assert classes == [("crate", "shop"), ("dog", "cars"), ("cat", "cars"), ("cat", "shop"), ("star", "cars")]


@pytest.mark.slow
def test_a_curve_has_the_ap_that_pycocotools_has_for_its_class_size_and_data_set() -> None:
    for seed in range(16):
        first, second = (scenes.draw(number, crowds=bool(seed % 2)) for number in (seed, 1000 + seed))
        moved = [
            dataclasses.replace(
                one, **{key: getattr(one, key) + 4 for key in ("labels", "truth_labels", "crowd_labels")}
            )
            for one in second
        ]
        results = [*first, *moved]
        judged = judged_of(results, [f"class {label}" for label in range(8)], *[0] * 4, *[1] * 4)
        found, expected = parts_of(judged), precisions_of(results)
        if not found:
            continue
        judged_alone = [_mean(precisions_of(own, label_count=8)[:, :, 0]) for own in (first, moved)]
        assert [row.cells[1] for row in found["By data set"].rows] == pytest.approx(judged_alone, nan_ok=True), seed
        for place, row in enumerate(found["By size"].rows):
            assert row.cells[1] == pytest.approx(_mean(expected[:, :, place + 1]), nan_ok=True), (seed, row.cells)
        for row in found["By class"].rows:
            label = judged.names.index(str(row.cells[0]))
            assert row.cells[2] == pytest.approx(_mean(expected[:, [label], 0]), nan_ok=True), (seed, row.cells)
            if row.precisions:
                assert list(row.precisions) == pytest.approx(expected[:, label, 0].tolist())


def _mean(precisions: np.ndarray) -> float:
    """The AP of precisions (101, classes), -1 for a class without ground truth."""
    there = precisions[:, (precisions > -1).all(0)]
    return float(there.mean()) if there.size else np.nan


def test_where_nothing_is_annotated_there_is_no_curve_and_without_a_detection_all_are_zero() -> None:
    assert not parts_of(judged_of([image("empty", [CAT], [0.9], [0], {})], ["cat"]))
    nothing = parts_of(judged_of([image("nothing", [], [], [], {0: CAT})], ["cat", "dog"]))
    assert rows_of(nothing["By class"]) == {"cat": [0.0, 1, 0, 0]}
    assert [picture.title for picture in nothing["By class"].rows[0].pictures] == ["nothing"]


def test_of_many_classes_each_has_a_row_and_the_worst_have_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PICTURES_IN_ALL", 30)
    names = [f"class {label}" for label in range(40)]
    results = [image(f"{label}", [], [], [], {label: CAT}) for label in range(40)]
    part = parts_of(judged_of(results, names))["By class"]
    assert [len(row.pictures) for row in part.rows] == [1] * 30 + [0] * 10
    assert "The first 30 have a picture." in part.note
    assert all(row.note.startswith("Images with mistakes: ") for row in part.rows)


@pytest.mark.slow
def test_a_page_of_1203_classes_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PICTURES_IN_ALL", 0)
    random = np.random.default_rng(0)
    classes = random.permutation(1203)
    boxes = [[10 * k, 0, 10 * k + 10, 20] for k in range(1203)]
    there = dict(zip(classes.tolist(), boxes, strict=True))
    results = [
        image(f"{number:012}.jpg", boxes, random.random(1203).tolist(), random.permutation(classes).tolist(), there)
        for number in range(3)
    ]
    judged = judged_of(results, [f"the class of number {label}" for label in range(1203)])
    page = html.render(Report("t", "s", [Section("x", list(curve_parts(find(results), judged)))]))
    assert page.count("<summary") == 1206 and len(page) < 3_000_000


def test_the_line_of_a_curve_keeps_every_bend() -> None:
    y = [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]
    path = Curve(["x"], y, [], "").path()
    corners = [tuple(map(float, pair.split())) for pair in path[1:].split("L")]
    assert corners == [(0, 0), (80, 0), (120, 50), (160, 50), (200, 75)]
    again = np.interp(np.linspace(0, 200, 6), *zip(*corners, strict=True))
    assert (1 - again / 100).tolist() == y


def test_the_keyboard_opens_a_row_in_a_browser_which_says_nothing(one: Judged, tmp_path: Path) -> None:
    html.write(Report("t", "s", [Section("x", list(curve_parts(find(one.results), one)))]), tmp_path / "report.html")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 420, "height": 900})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        row = page.locator("summary", has_text=re.compile("dog"))
        shown = page.locator("details", has=row).locator("svg, img")
        assert not any(one.is_visible() for one in shown.all())
        row.focus()
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelectorAll('[open] img').length === 2")
        page.wait_for_function("() => [...document.querySelectorAll('[open] img')].every((one) => one.naturalWidth)")
        assert shown.count() == 3 and all(one.is_visible() for one in shown.all())
        assert row.get_attribute("aria-label") == "dog, AP50 0.337, objects 3, found 1, wrong 0"
        page.keyboard.press("Space")
        shown.first.wait_for(state="hidden")
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        browser.close()
    assert said == []
