"""The page, in a real Chromium: as a mouse, a keyboard and a phone see it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser import START_SECONDS, chromium
from tests.cluster import PATIENCE
from tests.trainer.tasks.serve.conftest import Place
from trainer.reporting.drawing import colour_of

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")

MILLISECONDS = 1000 * START_SECONDS * min(PATIENCE, 4)
SHOWN = "(pane) => document.querySelectorAll('.pane')[pane].querySelectorAll('rect:not(.edge)').length"
# Moves a slider, and says what is there when the event has been handled: nothing that comes later counts.
MOVE = """([id, value]) => {
    const slider = document.getElementById(id);
    slider.value = value;
    slider.dispatchEvent(new Event('input', {bubbles: true}));
    return document.querySelectorAll('rect:not(.edge)').length;
}"""
DROP = """([name, bytes]) => {
    const given = new DataTransfer();
    given.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/jpeg'}));
    document.getElementById('drop').dispatchEvent(
        new DragEvent('drop', {dataTransfer: given, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    path = chromium()
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=MILLISECONDS)
        yield started
        started.close()


class Page:
    """An open page.

    Attributes:
        asked: the requests for detections so far.
        complaints: what it wrote to the console, and errors of its script.
    """

    def __init__(self, browser, url: str, width: int, height: int) -> None:
        self.tab = browser.new_page(viewport={"width": width, "height": height})
        self.tab.set_default_timeout(MILLISECONDS)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url) if "/detect" in request.url else None)
        self.tab.on(
            "filechooser", lambda _: None
        )  # or the driver asks for them too late for a key that follows at once
        self.tab.goto(url)
        self.tab.wait_for_selector("#vocabulary-0 option", state="attached")

    def drop(self, name: str, picture: Path) -> None:
        self.tab.evaluate(DROP, [name, list(picture.read_bytes())])

    def type_name(self, name: str) -> None:
        self.tab.fill("#name", name)
        self.tab.press("#name", "Enter")

    def captions(self, *expected: str) -> None:
        """Waits until the panes say so."""
        self.tab.wait_for_function(
            "(texts) => JSON.stringify([...document.querySelectorAll('figcaption')].map((one) => "
            "one.textContent.split(':')[0])) === JSON.stringify(texts) && !document.querySelector('.working')",
            arg=list(expected),
        )

    def download(self, button: str, folder: Path) -> Path:
        with self.tab.expect_download() as waiting:
            self.tab.click(f"[data-do={button}]")
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path


@pytest.fixture
def opened(browser, place: Place) -> Iterator:
    pages: list[Page] = []

    def one(width: int = 1300, height: int = 1000, url: str = place.server.url) -> Page:
        pages.append(Page(browser, url, width, height))
        return pages[-1]

    yield one
    for page in pages:
        page.tab.close()


def test_a_dropped_picture_and_two_typed_names_become_boxes_that_follow_the_sliders_without_a_request(
    opened, place: Place, photos: Path, tmp_path: Path
) -> None:
    page, picture = opened(), photos / "images" / "01.jpg"
    page.type_name("red STAR")
    page.type_name("cat")
    page.drop("<b>my</b> photo.jpg", picture)
    page.captions("my names")
    assert page.tab.inner_text("h2") == "<b>my</b> photo.jpg" and len(page.asked) == 1

    page.tab.uncheck("#distinct")
    page.tab.evaluate(MOVE, ["top", "100"])
    answer = place.server.detect(picture, names=("red STAR", "cat"), name="<b>my</b> photo.jpg").content
    scores = [one["score"] for one in answer["annotations"]]
    for threshold in (0.0, 0.5, round(scores[2], 2), 1.0, 0.0):
        expected = min(sum(score >= threshold for score in scores), 100)
        assert page.tab.evaluate(MOVE, ["threshold", str(threshold)]) == expected
    assert page.tab.evaluate(MOVE, ["top", "3"]) == 3
    one = answer["annotations"][2]  # drawn first, below the better ones
    rect = page.tab.locator("rect:not(.edge)").first
    assert [float(rect.get_attribute(key)) for key in ("x", "y", "width", "height")] == one["bbox"]
    assert rect.evaluate("(one) => getComputedStyle(one).stroke") == "rgb({}, {}, {})".format(*colour_of(one["name"]))

    assert json.loads(page.download("json", tmp_path).read_text()) == answer
    with open(page.download("csv", tmp_path), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], float(row["score"]), float(row["width"])) for row in rows] == [
        (one["name"], one["score"], one["bbox"][2]) for one in answer["annotations"][:3]
    ]
    with Image.open(page.download("picture", tmp_path)) as drawn:
        near = np.abs(np.asarray(drawn.convert("RGB"), int) - np.array(colour_of(answer["annotations"][0]["name"])))
        assert drawn.width >= 960 and (near.max(-1) < 10).sum() > 100
    assert len(page.asked) == 1 and page.complaints == []


def test_vocabularies_can_be_switched_and_stand_side_by_side_and_each_is_asked_for_once(opened, photos: Path) -> None:
    page = opened()
    page.drop("a.jpg", photos / "images" / "02.jpg")
    page.captions("vocabulary_FasterRCNN")
    page.tab.select_option("#vocabulary-0", "more")
    page.captions("more")
    page.tab.select_option("#vocabulary-1", "vocabulary_FasterRCNN")
    page.captions("more", "vocabulary_FasterRCNN")
    page.tab.select_option("#vocabulary-0", "vocabulary_FasterRCNN")
    page.captions("vocabulary_FasterRCNN", "vocabulary_FasterRCNN")
    assert len(page.asked) == 2
    middle = "(one) => (one.scrollLeft + one.clientWidth / 2) / one.scrollWidth"
    page.tab.evaluate(MOVE, ["zoom", "8"])
    assert page.tab.locator(".view").first.evaluate(middle) == pytest.approx(0.5, abs=0.02)
    page.tab.evaluate("document.querySelector('.view').scrollLeft = 0")
    page.tab.evaluate(MOVE, ["zoom", "7"])
    assert page.tab.locator(".view").first.evaluate(middle) < 0.48
    before = page.tab.evaluate(SHOWN, 0)
    button = page.tab.locator(".legend button").first
    hidden = int(button.locator("b").inner_text())
    button.click()
    assert page.tab.evaluate(SHOWN, 0) == page.tab.evaluate(SHOWN, 1) == before - hidden < before
    assert page.complaints == []


def test_a_name_without_a_row_is_replaced_by_one_that_is_offered(opened, photos: Path) -> None:
    page = opened()
    page.drop("a.jpg", photos / "images" / "02.jpg")
    page.type_name("red start")
    page.tab.wait_for_selector("#problem button")
    assert "no text embedding of 'red start'" in page.tab.inner_text("#problem")
    page.tab.click("#problem button >> text=Red star")
    page.captions("my names")
    assert page.tab.inner_text("#chips") == "Red star" and page.tab.inner_text("#problem") == ""


def test_a_keyboard_is_enough(opened, photos: Path) -> None:
    page = opened()
    tab = page.tab

    def focus_by_tab(selector: str) -> None:
        for _ in range(40):
            if tab.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
            tab.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {selector}")

    focus_by_tab("#name")
    tab.keyboard.type("thi")
    assert tab.evaluate("[...document.querySelectorAll('#completions option')].map((one) => one.value)")[0] == "thing 0"
    tab.keyboard.type("ng 1")
    tab.keyboard.press("Enter")
    tab.keyboard.type("cat")
    tab.keyboard.press("Enter")
    focus_by_tab("#choose")
    with tab.expect_file_chooser() as chooser:
        tab.keyboard.press("Enter")
    chooser.value.set_files(photos / "images" / "03.jpg")
    page.captions("my names")
    tab.evaluate("document.activeElement.blur()")
    focus_by_tab("#threshold")
    tab.keyboard.press("Home")
    before = tab.evaluate(SHOWN, 0)
    focus_by_tab(".legend button")
    hidden = int(tab.inner_text(":focus b"))
    tab.keyboard.press("Space")
    assert tab.evaluate(SHOWN, 0) == before - hidden < before
    assert tab.evaluate("document.activeElement.matches('.legend button')")  # the focus is where it was
    tab.keyboard.press("Space")
    assert tab.evaluate(SHOWN, 0) == before and page.complaints == []


def test_a_phone_shows_everything_in_its_width_with_buttons_for_a_thumb(opened, photos: Path) -> None:
    page = opened(width=390, height=844)
    page.drop(
        "a-picture-with-a-very-long-name-that-no-phone-has-room-for-in-one-line.jpg", photos / "images" / "02.jpg"
    )
    page.tab.select_option("#vocabulary-1", "more")
    page.captions("vocabulary_FasterRCNN", "more")
    assert page.tab.evaluate("document.documentElement.scrollWidth") == 390
    low = "(all) => all.filter((one) => one.offsetParent && one.offsetHeight < 40).map((one) => one.outerHTML)"
    assert page.tab.locator("button, select").evaluate_all(low) == []
    left = page.tab.locator(".view").evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().left)")
    assert left[0] == left[1] and page.complaints == []


def test_the_report_is_a_link_away_with_its_own_style(opened) -> None:
    page = opened()
    page.tab.click("#report")
    page.tab.wait_for_selector("h1 >> text=How")
    assert page.tab.url.endswith("/report.html")
    assert page.tab.eval_on_selector("h1", "(one) => getComputedStyle(one).color") == "rgb(1, 2, 3)"
    assert page.complaints == []
