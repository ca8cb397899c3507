"""The page of a run: what it tells while files grow, who may ask, and that it ends with the run."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image

from shared.errors import UserError
from tests.browser import START_SECONDS, chromium
from tests.cluster import PATIENCE
from trainer.reporting import live

SECONDS = 30 * PATIENCE
LINES = [
    {"kind": "train", "step": step, "epoch": 1, "loss_cls": 1 / step, "lr": 0.1, "device_bytes": 3 << 20}
    for step in range(1, 40)
]
EVIL = "<img src=x onerror=alert(1)>"


class Place:
    """A page that is served, and its work dir."""

    def __init__(self, work_dir: Path, said: list[str]) -> None:
        self.work_dir = work_dir
        (self.url,) = re.findall(r"http://127\.0\.0\.1:\d+/", " ".join(said))
        self.port = int(self.url.split(":")[-1].strip("/"))

    def ask(self, path: str, host: str = "localhost", method: str = "GET", **query: object) -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, f"{path}?{urlencode(query)}", headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    work_dir, said = tmp_path_factory.mktemp("run"), []
    with live.served(work_dir, 0, said.append):
        running = Place(work_dir, said)
        yield running
    with pytest.raises(ConnectionRefusedError):
        running.ask("/runs")


def jpeg() -> str:
    """A grey picture of 80 x 60 pixels, in base64."""
    content = io.BytesIO()
    Image.new("RGB", (80, 60), (128, 128, 128)).save(content, format="JPEG")
    return base64.b64encode(content.getvalue()).decode()


def write(file: Path, lines: list[dict], more: str = "") -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + more)


def test_numbers_come_as_they_are_logged_by_whole_lines_and_begin_anew_where_a_run_went_back(place: Place) -> None:
    assert place.ask("/runs") == (200, {"work_dir": str(place.work_dir), "steps": [], "runs": []})
    assert place.ask("/numbers", run="")[0] == 404
    file = place.work_dir / "stage_1" / "metrics.jsonl"
    write(file, LINES[:3], '{"kind": "tr')
    assert place.ask("/runs")[1]["runs"] == ["stage_1"]
    _, found = place.ask("/numbers", run="stage_1")
    assert found["lines"] == LINES[:3] and not found["again"]
    write(file, LINES[:5])
    _, more = place.ask("/numbers", run="stage_1", after=found["after"])
    assert more["lines"] == LINES[3:5] and more["after"] == file.stat().st_size and not more["again"]
    write(file, LINES[:2])
    _, anew = place.ask("/numbers", run="stage_1", after=more["after"])
    assert anew["again"] and anew["lines"] == LINES[:2]


def test_the_end_of_a_log_is_told_when_it_has_grown_and_its_control_characters_are_escaped(place: Place) -> None:
    folder = place.work_dir / "proposals"
    folder.mkdir()
    log = folder / "log.txt"
    log.write_bytes(b"one\x1b[2J\rtwo\n\xff <b>\n")
    assert "proposals" in place.ask("/runs")[1]["runs"]
    assert place.ask("/numbers", run="proposals")[1]["lines"] == []
    _, found = place.ask("/log", run="proposals")
    assert found == {"seen": log.stat().st_size, "text": "one\\x1b[2J\\rtwo\n\\xff <b>\n"}
    assert place.ask("/log", run="proposals", seen=found["seen"])[1] == {"seen": found["seen"], "text": None}
    log.write_text("".join(f"{number:99}\n" for number in range(1000)))
    _, found = place.ask("/log", run="proposals", seen=found["seen"])
    numbers = list(map(int, found["text"].split()))
    assert numbers == list(range(1000 - len(numbers), 1000)) and (len(numbers) + 1) * 100 > 64 << 10


def test_a_batch_is_asked_for_where_a_run_may_draw_it_and_told_once(place: Place) -> None:
    folder = place.work_dir / "stage_0"
    write(folder / "metrics.jsonl", LINES)
    assert place.ask("/batch", method="POST", run="stage_0") == (200, None)
    assert (folder / ".batch_wanted").exists()
    drawn = {"step": 7, "images": []}
    (folder / "batch.json").write_text(json.dumps(drawn))
    assert place.ask("/batch", method="POST", run="stage_0") == (200, drawn)
    assert place.ask("/batch", method="POST", run="stage_0", seen=7) == (200, None)
    (folder / ".batch_wanted").unlink()
    (place.work_dir / "state.json").write_text(json.dumps({"steps": {"stage_0": {"state": "done"}}}))
    assert place.ask("/batch", method="POST", run="stage_0") == (200, drawn)
    assert not (folder / ".batch_wanted").exists()
    assert place.ask("/batch", method="POST", run="../stage_0")[0] == 404
    (folder / "batch.json").unlink()
    (folder / "batch.json").mkdir()
    assert place.ask("/batch", method="POST", run="stage_0")[1] == {"error": f"{folder / 'batch.json'}: Is a directory"}


@pytest.mark.parametrize(
    ("query", "status"),
    [({"run": ".."}, 404), ({"run": "../x"}, 404), ({"run": "stage_1", "after": "-1"}, 400)],
)
def test_what_is_no_run_or_no_place_is_refused(place: Place, query: dict, status: int) -> None:
    write(place.work_dir / "stage_1" / "metrics.jsonl", LINES)
    assert place.ask("/numbers", **query)[0] == status
    assert place.ask("/runs", host="evil.example")[0] == 400


def test_a_port_that_is_taken_is_named_and_without_the_option_nothing_is_served(place: Place, tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=f"^--serve {place.port}: Address already in use"),
        live.served(tmp_path, place.port, print),
    ):
        pass
    said: list[str] = []
    with live.served(tmp_path, None, said.append):
        assert said == []


@pytest.mark.slow
def test_the_page_draws_each_number_and_follows_the_step_that_runs(place: Place) -> None:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
    )
    path = chromium()
    write(place.work_dir / "stage_1" / "metrics.jsonl", LINES)
    (place.work_dir / "state.json").write_text(
        json.dumps({"steps": {EVIL: {"state": "done", "seconds": 61.2}, "stage_1": {"state": "running"}}})
    )
    (place.work_dir / "stage_1" / "log.txt").write_text(f"[data_server] {EVIL}\n[trainer] ready\n")
    box = {"bbox": [10, 10, 30, 20], "name": EVIL}
    picture = {"jpeg": jpeg(), "width": 80, "height": 60, "boxes": [box]}
    (place.work_dir / "stage_1" / "batch.json").write_text(json.dumps({"step": 38, "images": [picture]}))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        tab.set_default_timeout(1000 * START_SECONDS * min(PATIENCE, 4))
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(place.url)
        tab.wait_for_selector("polyline")
        assert tab.locator(".chart h2").all_inner_texts() == ["loss_cls", "lr", "device_bytes"]
        assert tab.locator(".chart p").all_inner_texts() == ["0.02564", "0.1", "3 MiB"]
        assert tab.locator("#steps li").all_inner_texts() == [f"{EVIL}: done, 61 s", "stage_1: running"]
        assert tab.inner_text("#status") == "epoch 1, step 39"
        assert tab.inner_text("#log pre") == f"[data_server] {EVIL}\n[trainer] ready\n"
        assert not (place.work_dir / "stage_1" / ".batch_wanted").exists()
        tab.click("#batch summary")
        tab.wait_for_selector("#batch img")
        assert (place.work_dir / "stage_1" / ".batch_wanted").exists()
        assert "Step 38," in tab.inner_text("#batch .note")
        assert tab.locator("#batch .tags span").all_inner_texts() == [EVIL]
        assert tab.evaluate("document.querySelector('#batch img').naturalWidth") == 80
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        result = {"kind": "val", "step": 40, "epoch": 1, "name": "base", "AP50": 0.5}
        write(place.work_dir / "stage_2" / "metrics.jsonl", [*LINES[:1], result])
        tab.wait_for_selector("h2 >> text=base: AP50")
        assert tab.locator("[aria-pressed=true]").inner_text() == "stage_2" and said == []
        browser.close()
