"""The page and the paths behind it: what they say of a data set is counted again here, from its files."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest

from data_server.commands import browse
from data_server.commands.browse import numbers
from data_server.commands.browse.alike import alike
from data_server.commands.browse.app import application
from data_server.commands.browse.splits import Splits, image_of
from data_server.commands.replay import rebuild
from shared import listening, web
from shared.config import load_config
from shared.data_part import data_part, from_plain
from shared.errors import UserError
from tests.browser import START_SECONDS, chromium
from tests.cluster import PATIENCE, ROOT
from tests.photos import CROWD, IMAGES, annotations_of

CONFIG = str(ROOT / "configs/trial/coco_photos_cln.py")
TOKEN = "open sesame, please"
SECONDS = 30 * PATIENCE
EVIL = "<img src=x onerror=alert(1)>"
BROKEN = "05.jpg"
PAIRS = ((0, 1), (0, 2), (1, 2))


class Place(NamedTuple):
    """A server that is running, its config, and what is in the files of its two training sets."""

    port: int
    config: Any
    files: list[dict[str, Any]]

    def ask(self, path: str, host: str = "127.0.0.1", **query: Any) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            words = f"?{urlencode(query)}" if query else ""
            connection.request("GET", path + words, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, path: str, **query: Any) -> dict[str, Any]:
        status, _, body = self.ask(path, **query)
        assert status == 200, body
        return json.loads(body)


class Running:
    """An application at a free port, in a thread."""

    def __init__(self, splits: Splits, token: str | None, local: bool) -> None:
        listener = listening.listener("127.0.0.1", 0, token)
        self.port = listener.getsockname()[1]
        self.server = web.server(application(splits, token, local))
        self.thread = threading.Thread(target=self.server.run, args=([listener],), daemon=True)
        self.thread.start()
        deadline = time.monotonic() + SECONDS
        while not self.server.started:
            assert self.thread.is_alive() and time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> None:
        self.server.should_exit = True
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def splits(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Two training sets, all images and the first seven: one name is a trap, and one file is no image."""
    folder = tmp_path_factory.mktemp("browse")
    shutil.copytree(photos / "images", folder / "images")
    content = annotations_of(photos)
    content["categories"][1]["name"] = EVIL
    (folder / "all.json").write_text(json.dumps(content))
    content["images"] = content["images"][:7]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] < 107]
    for number, side in ((900, 40), (901, 9)):  # two shoes of the image that has a cup
        shoe = {"id": number, "image_id": 100, "category_id": 3, "bbox": [5, 5, 50, side], "area": 50 * side}
        content["annotations"].append({**shoe, "iscrowd": 0})
    nothing = {"id": 902, "image_id": 103, "category_id": 3, "bbox": [5, 5, 9, 9], "area": 0, "iscrowd": 0}
    content["annotations"].append(nothing)  # MMDetection leaves out what has no area
    (folder / "some.json").write_text(json.dumps(content))
    config = load_config(CONFIG, {"data_root": str(folder)})
    plain = {**config.train_dataloader.dataset, "filter_cfg": None}
    sets = [{**plain, "ann_file": name} for name in ("all.json", "some.json")]
    config.train_dataloader.dataset = {"type": "ConcatDataset", "datasets": sets}
    config.val_dataloader.dataset.ann_file = "none.json"
    return Splits(config, lambda _: None)


@pytest.fixture(scope="module")
def place(splits: Splits) -> Iterator[Place]:
    running = Running(splits, None, True)
    config = splits._config
    root = Path(config.data_root)
    yield Place(running.port, config, [json.loads((root / name).read_text()) for name in ("all.json", "some.json")])
    running.end()


def boxes_of(file: dict[str, Any], *, crowds: bool = False) -> list[tuple[int, str, float, float]]:
    """Image id, class, width and height of each box."""
    names = {one["id"]: one["name"] for one in file["categories"]}
    return [
        (one["image_id"], names[one["category_id"]], *one["bbox"][2:])
        for one in file["annotations"]
        if one["area"] and (crowds or not one["iscrowd"])
    ]


def binned(histogram: dict[str, Any]) -> Counter[float]:
    """Of each bin's first edge its count, without the empty ones."""
    return +Counter(dict(zip(histogram["edges"], histogram["counts"], strict=False)))


def bin_of(value: float, edges: list[float]) -> float:
    return max(edge for edge in edges if edge <= value)


@pytest.mark.parametrize("sources", [(0, 1), (0,), (1,)])
def test_the_numbers_are_those_that_are_counted_one_by_one(place: Place, sources: tuple[int, ...]) -> None:
    found = place.json("/train/numbers", source=sources[0] if len(sources) == 1 else "")
    files = [place.files[source] for source in sources]
    boxes = [(number, *one) for number, file in enumerate(files) for one in boxes_of(file)]
    images = [(number, image["id"]) for number, file in enumerate(files) for image in file["images"]]
    assert (found["images"], found["boxes"]) == (len(images), len(boxes))
    assert found["crowds"] == sum(one["iscrowd"] for file in files for one in file["annotations"])
    counts, seen = Counter(one[2] for one in boxes), {(one[2], *one[:2]) for one in boxes}
    assert {name: (count, within) for name, count, within in found["classes"]} == {
        name: (count, sum(one[0] == name for one in seen)) for name, count in counts.items()
    }
    ranked = [count for _, count, _ in found["classes"]]
    assert ranked == sorted(ranked, reverse=True)
    expected = Counter(bin_of((w * h) ** 0.5, found["side"]["edges"]) for *_, w, h in boxes)
    assert binned(found["side"]) == expected and len(expected) > 2
    expected = Counter(bin_of(w / h, found["aspect"]["edges"]) for *_, w, h in boxes)
    assert binned(found["aspect"]) == expected and len(expected) > 2
    of_images = Counter(one[:2] for one in boxes)
    expected = Counter(bin_of(of_images[image], found["per_image"]["edges"]) for image in images)
    assert binned(found["per_image"]) == expected and len(expected) > 2


def test_names_are_as_alike_as_their_rows(place: Place, splits: Splits, tmp_path: Path) -> None:
    assert place.json("/train/alike") == {"file": None, "pairs": []}  # the data set tells no classes apart
    catalogue, file = splits.opened("train"), str(tmp_path / "rows.npy")
    rows = np.array([[2.0, 0, 0], [3, 3, 0], [0, 0.5, 0.01]], np.float32)
    np.save(file, rows)
    catalogue.parts[1].class_agnostic = False
    try:
        found = alike(catalogue, 1, {"zeroshot_path": ["/nowhere.npy", file]})
        np.save(file, rows[:2])
        with pytest.raises(UserError, match="2 rows, the data set has 3 classes"):
            alike(catalogue, 1, {"zeroshot_path": ["/nowhere.npy", file]})
    finally:
        catalogue.parts[1].class_agnostic = True
    names = catalogue.parts[1].classes
    cosine = {(a, b): float(rows[a] @ rows[b] / np.sqrt((rows[a] ** 2).sum() * (rows[b] ** 2).sum())) for a, b in PAIRS}
    assert found["file"] == file
    assert [(one, other) for one, other, _ in found["pairs"]] == [
        (names[a], names[b]) for a, b in sorted(PAIRS, key=lambda pair: -cosine[pair])
    ]
    assert [one[2] for one in found["pairs"]] == pytest.approx(sorted(cosine.values(), reverse=True), abs=1e-5)


def test_brightness_is_the_mean_of_the_files_bytes_and_an_image_that_cannot_be_read_is_none(place: Place) -> None:
    path = Path(place.config.data_root) / "images" / BROKEN
    whole = path.read_bytes()
    path.write_bytes(b"no image")
    try:
        found = place.json("/train/brightness", source=0)
        status, _, body = place.ask("/train/picture/5")
        assert status == 422 and BROKEN in json.loads(body)["error"] and "not an image" in json.loads(body)["error"]
        assert place.ask("/train/sample/5")[0] == 422 and place.ask("/train/picture/4")[0] == 200
    finally:
        path.write_bytes(whole)
    names = [f"{number:02}.jpg" for number in range(IMAGES) if f"{number:02}.jpg" != BROKEN]
    means = [float(cv2.imread(str(path.parent / name)).mean()) for name in names]
    assert found["images"] == IMAGES - 1
    assert binned(found) == Counter(bin_of(mean, found["edges"]) for mean in means)
    assert found["edges"] == list(numbers.BRIGHTNESS)


@pytest.mark.parametrize(
    "query",
    [{}, {"source": 1}, {"name": EVIL}, {"name": "shoe", "size": "small"}, {"size": "medium"}, {"name": "nobody"}],
)
def test_the_images_that_are_wanted_are_listed_with_their_boxes(place: Place, query: dict[str, Any]) -> None:
    found = place.json("/train/images", count=100, **query)
    expected = []
    for source, file in enumerate(place.files):
        for image in file["images"] if query.get("source") in (None, source) else ():
            wanted = [
                (name, w * h < 32**2)
                for image_id, name, w, h in boxes_of(file, crowds=True)
                if image_id == image["id"]
                and query.get("name") in (None, name)
                and query.get("size") in (None, "small" if w * h < 32**2 else "medium")
            ]
            if wanted or not {"name", "size"} & query.keys():
                expected.append((source, str(image["id"]), image["file_name"]))
    listed = [(one["source"], one["id"], os.path.basename(one["file"])) for one in found["images"]]
    assert listed == expected and found["total"] == len(expected)
    sources = place.json("/train")["sources"]
    for one in found["images"]:
        names = sources[one["source"]]["classes"]
        file = place.files[one["source"]]
        assert [[*box[:4], names[box[4]], box[5]] for box in one["boxes"]] == [
            [x, y, x + w, y + h, {c["id"]: c["name"] for c in file["categories"]}[box["category_id"]], box["iscrowd"]]
            for box in file["annotations"]
            if str(box["image_id"]) == one["id"] and box["area"]
            for x, y, w, h in [box["bbox"]]
        ]


def test_a_list_goes_on_where_it_is_asked_to_and_an_image_is_found_by_id_and_by_name(place: Place) -> None:
    everything = place.json("/train/images", count=100)["images"]
    assert place.json("/train/images", start=10, count=4) == {"total": IMAGES + 7, "images": everything[10:14]}
    assert [one["place"] for one in everything] == list(range(IMAGES + 7))
    for find, places in (("105", [5, IMAGES + 5]), ("05.jp", [5, IMAGES + 5]), ("11.jpg", [11]), ("images", [])):
        assert [one["place"] for one in place.json("/train/images", find=find, count=9)["images"]] == places


def test_a_batch_is_the_one_that_the_trainer_gets_to_the_last_pixel(place: Place) -> None:
    step = 7
    made = place.json(f"/train/batch/{step}")
    plan, _, arrays, _ = rebuild(from_plain(data_part(place.config, "train")), 0, step)
    assert made["samples"] == [[index, str(seed)] for index, seed in zip(plan.indices, plan.seeds, strict=True)]
    assert made["epoch"] == plan.epoch == 1 and made["steps_per_epoch"] == 6  # 14 wide and 5 high
    for row, (index, seed) in enumerate(made["samples"]):
        fed = place.json(f"/train/fed/{index}", seed=seed)
        png = base64.b64decode(fed["picture"].removeprefix("data:image/png;base64,"))
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        height, width = arrays["image_shapes"][row]
        assert (fed["height"], fed["width"]) == (height, width)
        assert np.array_equal(image, arrays["images"][row, :height, :width])
        count = int(arrays["box_counts"][row]) + int(arrays["ignored"][row].sum())
        assert np.array_equal(
            np.float32([box[:4] for box in fed["boxes"]]).reshape(-1, 4), arrays["boxes"][row, :count]
        )
        assert fed["names"] == ["object"] and {box[4] for box in fed["boxes"]} <= {0}
        assert [box[5] for box in fed["boxes"]] == arrays["ignored"][row, :count].tolist()


def test_an_image_of_the_list_is_made_by_the_seed_that_is_asked_for(place: Place) -> None:
    crowd = place.json(f"/train/sample/{CROWD}", seed=2**64 - 1)
    assert crowd["place"] == CROWD and [box[5] for box in crowd["boxes"]] == [0, 1]
    flips = {place.json("/train/sample/3", seed=seed)["flipped"] for seed in range(8)}
    assert flips == {False, True}
    again = [place.json("/train/sample/3", seed=2) for _ in range(2)]
    assert again[0] == again[1]


def test_a_picture_is_the_files_no_longer_than_it_is_asked_to_be(place: Place) -> None:
    for edge, size in ((45, (30, 45)), (4096, (60, 90))):
        status, headers, body = place.ask("/train/picture/0", edge=edge)
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        assert status == 200 and headers["content-type"] == "image/jpeg" and image.shape[:2] == size
    file = cv2.imread(str(Path(place.config.data_root) / "images" / "00.jpg"))
    assert np.abs(image.astype(int) - file).mean() < 4


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/train/images?source=2", 400, "source: expected a number from 0 to 1"),
        ("/train/images?start=-1", 400, "start: expected a number from 0"),
        ("/train/images?count=201", 400, "count: expected a number from 0 to 200"),
        ("/train/images?size=huge", 400, "size: expected one of small, medium, large"),
        ("/train/sample/3?seed=18446744073709551616", 400, "seed: expected"),
        ("/train/sample/3?seed=%D9%A3", 400, "seed: expected"),
        (f"/train/picture/{IMAGES + 7}", 422, f"expected 0 to {IMAGES + 6}"),
        (f"/train/fed/{IMAGES + 7}", 422, f"expected 0 to {IMAGES + 6}"),
        (f"/train/batch/{10**30}", 400, "step: expected less than"),
        ("/test", 422, "expected train or val"),
        ("/test/findings", 422, "expected train or val"),
        ("/val", 422, "none.json"),
        ("/train/nothing", 404, "Not Found"),
    ],
)
def test_what_cannot_be_answered_is_one_line(place: Place, path: str, status: int, says: str) -> None:
    found, headers, body = place.ask(path)
    assert found == status and says in json.loads(body)["error"] and "\n" not in json.loads(body)["error"]
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_each_finding_of_the_check_leads_to_its_image(place: Place) -> None:
    path = Path(place.config.data_root) / "images" / BROKEN
    hidden = path.with_suffix(".hidden")
    path.rename(hidden)
    try:
        first, second = place.json("/train/findings")["findings"]
    finally:
        hidden.rename(path)
    assert "12 images" in first["summary"] and "7 images" in second["summary"]
    (missing,) = [one for one in first["findings"] if one["text"] == "image files that are not there"]
    assert missing["error"] and missing["count"] == 1 and missing["places"] == [[str(path), BROKEN]]
    (empty,) = [one for one in second["findings"] if "'area' is 0" in one["text"]]
    assert empty["places"] == [["annotation 902", "103"]]
    (broken,) = place.json("/val/findings")["findings"]  # of a split that cannot be opened
    assert [one["error"] for one in broken["findings"]] == [True] and "none.json" in broken["findings"][0]["text"]
    assert image_of("annotation 5 of image 101 [1, 2, 3, 4]") == "101" == image_of("annotation 5 (image 101)")
    assert image_of("/a b/c (d).jpg (truncated)") == "" and image_of("/a/c.PNG (truncated)") == "c.PNG"
    endings = ("bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp")
    assert [image_of(f"/a/c.{ending} (truncated)") for ending in endings] == [f"c.{ending}" for ending in endings]
    assert image_of("'cup'") == image_of("annotation 5") == ""


def test_others_need_the_token_and_a_page_of_somebody_elses_gets_nothing(splits: Splits, place: Place) -> None:
    for host in ("evil.example", "", "127.0.0.1.evil.example"):
        assert place.ask("/data", host=host)[0] == place.ask("/", host=host)[0] == 400
    running = Running(splits, TOKEN, False)
    try:
        locked = Place(running.port, place.config, place.files)
        for path in ("/data", "/train", "/train/images", "/train/picture/0", "/nothing"):
            assert locked.ask(path)[0] == 401
        assert locked.ask("/", host="evil.example")[0] == locked.ask("/healthz")[0] == 200
    finally:
        running.end()


def test_a_config_without_a_data_set_and_an_address_that_others_reach_are_refused(splits: Splits) -> None:
    with pytest.raises(UserError, match=r"--host 0\.0\.0\.0: others can reach it; give a --token"):
        browse.main(["--config", CONFIG, "--host", "0.0.0.0"])
    bare = splits._config.copy()
    for split in ("train", "val", "test"):
        bare.pop(f"{split}_dataloader", None)
    with pytest.raises(UserError, match="has no data set"):
        Splits(bare, lambda _: None)


def test_the_command_serves_until_sigterm(place: Place, capfd, monkeypatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    started = web.server

    def server(app):
        made = started(app)

        def end() -> None:
            while not made.started:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=end, daemon=True).start()
        return made

    monkeypatch.setattr(web, "server", server)
    root, some = place.config.data_root, ["train_dataloader.dataset.ann_file=some.json"]
    try:
        code = browse.main(["--config", CONFIG, "--port", "0", "--cfg-options", f"data_root={root}", *some])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    said = capfd.readouterr()
    assert code == 0 and said.out == "" and "browsing at http://127.0.0.1:" in said.err


def test_the_page_shows_the_data_with_a_mouse_a_keyboard_and_on_a_phone(place: Place) -> None:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
    )
    path = chromium()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.set_default_timeout(1000 * START_SECONDS * min(PATIENCE, 4))
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(f"http://127.0.0.1:{place.port}/")
        _looks_at_images(tab)
        _looks_at_batches_and_numbers(tab)
        tab.set_viewport_size({"width": 390, "height": 844})
        for view in ("images", "batch", "numbers", "findings"):
            tab.click(f"[data-view={view}]")
            assert tab.evaluate("document.documentElement.scrollWidth") == 390, view
        assert said == []
        tab.select_option("#split", "val")
        tab.wait_for_selector("#problem p")
        assert "none.json" in tab.inner_text("#problem")
        browser.close()


def _looks_at_images(tab: Any) -> None:
    tab.wait_for_selector(".tile img[src]")
    assert tab.inner_text("#range") == f"1 – {IMAGES + 7} of {IMAGES + 7}"
    tab.fill("#name", EVIL)
    tab.press("#name", "Enter")
    tab.wait_for_function(f"() => !document.querySelector('#range').textContent.endsWith('of {IMAGES + 7}')")
    assert tab.locator(".tile").count() == int(tab.inner_text("#range").split()[-1]) > 0
    tab.wait_for_selector(".tile img[src]")
    tab.focus(".tile >> nth=0")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#legend button")
    assert any(EVIL in text for text in tab.locator("#legend button").all_inner_texts())
    boxes = tab.locator("#one rect:not(.edge)").count()
    assert boxes == sum(int(text) for text in tab.locator("#legend b").all_inner_texts())
    tab.locator("#legend button", has_text=EVIL).click()
    assert tab.locator("#one rect:not(.edge)").count() < boxes
    first = tab.inner_text("#title")
    tab.focus("#close")
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function("(title) => document.getElementById('title').textContent !== title", arg=first)
    tab.click("#as-fed")
    tab.wait_for_function("() => document.querySelector('#legend').textContent.startsWith('object')")
    tab.keyboard.press("Escape")
    tab.wait_for_function("() => !document.getElementById('one').open")


def _looks_at_batches_and_numbers(tab: Any) -> None:
    tab.click("[data-view=batch]")
    tab.wait_for_function("() => document.querySelectorAll('#samples img[src]').length === 4")
    assert tab.inner_text("#recipe").startswith("epoch 0, 6 steps each, seed 0")
    tab.click("[data-view=numbers]")
    tab.wait_for_selector("text=Brightness")
    tab.click(f".bar button >> text={EVIL}")
    tab.wait_for_selector("#images:not([hidden]) .tile img[src]")
    assert tab.input_value("#name") == EVIL
