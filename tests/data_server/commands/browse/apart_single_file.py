"""The page as one file: what it holds is what the server answers, and it needs nothing else."""

# ruff: noqa: F401, F811 - fixtures of another file
from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data_server.commands import browse
from data_server.commands.browse import single_file
from data_server.commands.browse.splits import Splits
from shared.errors import UserError
from tests.browser import START_SECONDS, chromium
from tests.cluster import PATIENCE
from tests.data_server.commands.browse.apart_browse import (
    BROKEN,
    CONFIG,
    EVIL,
    Place,
    place,
    splits,
)
from tests.photos import CROWD, EMPTY, IMAGES

COUNT = 10
SOURCES = ("source=0", "source=1")


@pytest.fixture(scope="module")
def held(splits: Splits) -> single_file.Held:
    return single_file.held(splits, COUNT, lambda _: None)


def test_it_holds_the_answers_of_the_server(held: single_file.Held, place: Place) -> None:
    own = {"data", "train/samples?"}
    kinds = [f"train/{kind}?{query}" for kind in ("numbers", "brightness", "alike") for query in ("", *SOURCES)]
    assert held.keys() == {*own, *kinds, "train?", "train/findings?", "val?", "val/findings?"}
    for path in held.keys() - own:
        assert json.loads(json.dumps(held[path])) == json.loads(place.ask(f"/{path}")[2]), path
    assert held["data"].items() > place.json("/data").items()
    assert "none.json" in held["val?"]["error"]


def test_samples_are_spread_over_the_stream_each_by_a_seed_of_its_own(
    held: single_file.Held,
    place: Place,
) -> None:
    found = held["train/samples?"]
    indices = np.unique(np.linspace(0, found["of"] - 1, COUNT).round()).astype(int).tolist()
    assert found["of"] == IMAGES + 7 and len(found["images"]) == COUNT == len(indices)
    flips = set()
    for number, (index, one) in enumerate(zip(indices, found["images"], strict=True)):
        fed = place.json(f"/train/fed/{index}", seed=number)
        flips.add(fed["flipped"])
        assert one["seed"] == str(number) and {**one, **fed, "picture": one["picture"]} == one
        assert np.abs(pixels(one).astype(int) - pixels(fed)).mean() < 4
        listed = place.json("/train/images", start=one["place"], count=1)["images"][0]
        names = place.json("/train")["sources"][one["source"]]["classes"]
        assert one["id"] == listed["id"] and one["classes"] == sorted({names[box[4]] for box in listed["boxes"]})
    assert flips == {False, True}


def pixels(one: dict[str, Any]) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(one["picture"].partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)


def test_of_fewer_images_each_is_there_once_and_a_broken_one_says_why(
    splits: Splits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(single_file, "EDGE", 45)
    path = Path(splits._config.data_root) / "images" / BROKEN
    whole = path.read_bytes()
    path.write_bytes(b"no image")
    try:
        images = single_file.samples(splits.opened("train"), 100)["images"]
    finally:
        path.write_bytes(whole)
    assert [one["place"] for one in images] == [*range(IMAGES + 7)]
    assert [one["place"] for one in images if "error" in one] == [5, IMAGES + 5]
    assert "not an image" in images[5]["error"] and images[5]["file"] == str(path) and images[5]["boxes"] == []
    assert max(pixels(images[0]).shape) == 45 and (images[0]["width"], images[0]["height"]) == (448, 299)
    assert images[EMPTY]["boxes"] == [] and len(images[CROWD]["boxes"]) == 2


def test_the_command_writes_it_and_says_how_large_it_is(
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, root = tmp_path / "new" / "data.html", place.config.data_root
    command = ["--config", CONFIG, "--html", str(file), "--samples", "3"]
    some = ["train_dataloader.dataset.ann_file=some.json", "val_dataloader.dataset.ann_file=some.json"]
    assert browse.main([*command, "--cfg-options", f"data_root={root}", *some]) == 0
    said, page = capsys.readouterr(), file.read_text()
    assert f"{file}: {file.stat().st_size / 1e6:,.1f} MB" in said.out and "train" in said.err
    assert page.count('"picture":"data:image/jpeg') == 2 * 3
    assert EVIL not in page and json.dumps(EVIL)[1:-1].replace("<", r"\u003c") in page


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--html", "F", "--token", "open sesame, please"], "--token: with --html nothing is served"),
        (["--html", "F", "--port", "0"], "--port: with --html nothing is served"),
        (["--samples", "5"], "--samples: only the file of --html"),
        (["--html", "/"], "cannot write /: Is a directory; free some space, or choose another --html"),
    ],
)
def test_what_would_be_ignored_is_refused(options: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        browse.main(["--config", CONFIG, *options])


@pytest.mark.parametrize("count", ["0", "1001", "-1", "some"])
def test_a_number_of_samples_is_bounded(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        browse.main(["--config", CONFIG, "--html", "F", "--samples", count])
    assert "expected a number from 1 to 1000" in capsys.readouterr().err


def test_a_browser_without_a_network_shows_it(
    held: single_file.Held,
    tmp_path: Path,
) -> None:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
    )
    path, file = chromium(), tmp_path / "data.html"
    file.write_bytes(single_file.page(held))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_context(offline=True, viewport={"width": 1200, "height": 900}).new_page()
        tab.set_default_timeout(1000 * START_SECONDS * min(PATIENCE, 4))
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: said.append(request.url) if not request.url.startswith("data:") else None)
        tab.goto(file.as_uri())
        _looks_at_samples(tab, held)
        _looks_at_the_rest(tab)
        tab.set_viewport_size({"width": 390, "height": 844})
        for view in ("images", "numbers", "findings"):
            tab.click(f"[data-view={view}]")
            assert tab.evaluate("document.documentElement.scrollWidth") == 390, view
        assert said == [file.as_uri()]
        tab.select_option("#split", "val")
        tab.wait_for_selector("#problem p")
        assert "none.json" in tab.inner_text("#problem")
        browser.close()


def _looks_at_samples(tab: Any, held: single_file.Held) -> None:
    images = held["train/samples?"]["images"]
    tab.wait_for_function("() => document.querySelector('.tile img').naturalWidth > 0")
    assert tab.locator(".tile").count() == COUNT and f"has {COUNT} of the {IMAGES + 7} images" in tab.inner_text("main")
    boxes = sum(len(one["boxes"]) for one in images)
    tab.wait_for_function("(count) => document.querySelectorAll('#grid rect:not(.edge)').length === count", arg=boxes)
    hidden = ("#as-fed", "#seed", "#find", "#size", "#check", "[data-view=batch]")
    assert not any(tab.is_visible(one) for one in hidden)
    tab.click(".tile >> nth=1")
    tab.wait_for_selector("#legend button")
    assert "seed 1" in tab.inner_text("#facts") and tab.locator("#legend").inner_text().startswith("object")
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function("() => document.getElementById('facts').textContent.includes('seed 2')")
    assert not any(tab.is_visible(one) for one in hidden)
    tab.keyboard.press("Escape")
    tab.select_option("#source", "1")
    tab.wait_for_function("(count) => document.querySelectorAll('.tile').length === count", arg=COUNT // 2 - 1)
    tab.select_option("#source", "")


def _looks_at_the_rest(tab: Any) -> None:
    tab.click("[data-view=findings]")
    tab.wait_for_selector("text=annotation 902")
    assert tab.locator("#found .link").count() == 0
    tab.click("[data-view=numbers]")
    tab.wait_for_selector("text=Brightness")
    tab.click(f".bar button >> text={EVIL}")
    tab.wait_for_selector("#images:not([hidden]) .tile img[src]")
    assert 0 < tab.locator(".tile").count() < COUNT and tab.input_value("#name") == EVIL
