"""The report: a browser shows it without a complaint, a network or a script, and it says what it was given."""

from __future__ import annotations

import importlib
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError

from shared.errors import UserError
from tests.browser import open_page
from trainer.reporting import html as report
from trainer.reporting import parts
from trainer.reporting.charts import BarChart, LineChart, Series
from trainer.reporting.charts.style import COLOURS
from trainer.reporting.html import Report, Section
from trainer.reporting.parts.figure import Figure
from trainer.reporting.parts.gallery import Gallery, Picture
from trainer.reporting.parts.table import Table
from trainer.reporting.parts.text import Text

RED = np.full((90, 160, 3), (250, 0, 0), np.uint8)


def sample() -> Report:
    lines = LineChart("Losses", "steps", [Series("loss_cls", [2.0, 1.0, 0.5], [1, 2, 3])])
    bars = BarChart("Counts", "detections", ["cat", "dog"], [Series("before", [9, 1]), Series("after", [5, 4])])
    table = Table("AP", ["split", "AP50", "images"], [["base", 0.6314, 80], ["new", float("nan"), None]], ["AP50"])
    pictures = Gallery("Best", [Picture(RED, "image 7", "4 of 5 found")], "Ground truth is dashed.")
    numbers = Section("Numbers <now>", [Text("Fine & well."), table, Figure(lines), Figure(bars)])
    sections = [numbers, Section("Pictures", [pictures])]
    return Report("A run", "It went well.", sections, {"config": "configs/demo/cln.py"})


class Elements(HTMLParser):
    """Collects (tag, attributes) and checks that tags are closed in order."""

    VOID = ("meta", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_browser_opens_a_report_without_a_word_and_shows_its_charts_and_pictures(tmp_path: Path) -> None:
    report.write(sample(), tmp_path / "report.html")
    console, page = open_page(tmp_path / "report.html", tmp_path / "report.png", height=1400)
    assert console == []
    red = (np.abs(page[..., :3].astype(int) - RED[0, 0]) < 12).all(-1)
    assert red.sum() > 10_000
    for colour in COLOURS[:2]:
        exact = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (page[..., :3] == exact).all(-1).sum() > 200, colour


def test_what_a_page_complains_about_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text('<html><body><img src="missing.png"><script>nothing.at.all</script></body></html>')
    console, _ = open_page(page, tmp_path / "broken.png", height=400)
    assert any("nothing is not defined" in line for line in console)


def test_a_report_holds_everything_and_asks_nobody_for_anything() -> None:
    text = report.render(sample())
    elements = Elements(text).found
    for tag, attributes in elements:
        assert tag not in ("script", "iframe", "object")
        for name in ("src", "href"):
            assert re.match(r"data:|#", attributes.get(name, "data:")), (tag, attributes)
            if attributes.get(name, "").startswith("#"):
                assert attributes[name][1:] in {own.get("id") for _, own in elements}
    for place in re.findall(r"url\(([^)]*)\)", text):
        assert place.startswith("#")
    assert "@import" not in text and "//" not in re.sub(r"base64,[^\"]*", "", text)


def test_text_is_never_taken_for_markup() -> None:
    page = Elements(report.render(sample()))
    assert "Numbers <now>" in page.text and "Fine & well." in page.text


HOSTILE = "</style></title></svg>'\"><script>alert(1)</script><img src=x onerror=alert(1)>&lt;{{ 7 * 7 }}{% raw %}"


def test_hostile_names_are_shown_letter_by_letter_wherever_they_stand() -> None:
    name = HOSTILE
    content = [
        Text(name, warning=True),
        Table(name, [name, name], [[name, name], [name, 1.0]], [name], name),
        Gallery(name, [Picture(RED, name, name)], name),
        Figure(LineChart(name, name, [Series("a", [1.0], [1])])),
        Figure(BarChart(name, name, ["a"], [Series("b", [1.0])])),
    ]
    page = Elements(report.render(Report(name, name, [Section(name, content)], {name: name})))
    # In the page itself, in the text, the table, the gallery; of a chart only the unit is long enough for all of it.
    assert page.text.count(name) == 7 + 1 + 7 + 4 + 2
    assert {tag for tag, _ in page.found} <= {tag for tag, _ in Elements(report.render(sample())).found}
    assert not any(attribute.startswith("on") for _, attributes in page.found for attribute in attributes)


def test_names_of_files_that_no_encoding_has_can_be_written(tmp_path: Path) -> None:
    name = b"image_\xff.jpg".decode("utf-8", "surrogateescape")
    report.write(Report("t", "s", [Section("x", [Text(name)])]), tmp_path / "report.html")
    assert "<p>image_?.jpg</p>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_same_report_has_the_same_bytes() -> None:
    assert report.render(sample()) == report.render(sample())


PART = """
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Quote:
    TEMPLATE: ClassVar[str] = "<blockquote>{{ part.words }}</blockquote>"
    words: str
"""


def test_a_new_kind_of_part_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quote.py").write_text(PART)
    monkeypatch.setattr(parts, "__path__", [*parts.__path__, str(tmp_path)])
    quote = importlib.import_module("trainer.reporting.parts.quote").Quote("less < more")
    monkeypatch.delitem(sys.modules, "trainer.reporting.parts.quote")
    text = report.render(Report("t", "s", [Section("x", [quote])]))
    assert "<blockquote>less &lt; more</blockquote>" in text


def test_a_template_that_names_what_a_part_does_not_have_is_an_error() -> None:
    class Wrong:
        TEMPLATE = "{{ part.wrods }}"

    with pytest.raises(UndefinedError, match="wrods"):
        report.render(Report("t", "s", [Section("x", [Wrong()])]))


def test_the_page_and_its_style_are_files_of_the_package() -> None:
    packed = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert '"trainer.reporting" = ["templates/*.html", "templates/*.css"]' in packed
    files = list((Path(report.__file__).parent / "templates").iterdir())
    assert {path.suffix for path in files} == {".html", ".css"}


def test_pictures_and_charts_say_to_screen_readers_what_they_are() -> None:
    elements = Elements(report.render(sample())).found
    assert [attributes["alt"] for tag, attributes in elements if tag == "img"] == ["image 7. 4 of 5 found"]
    labels = [attributes["aria-label"] for tag, attributes in elements if tag == "svg"]
    assert labels == ["Losses: loss_cls ends at 0.5", "Counts: before, after of 2 rows"]
    assert dict(elements)["html"] == {"lang": "en"}
    headings = [tag for tag, _ in elements if re.fullmatch(r"h\d", tag)]
    assert headings == ["h1", "h2", "h2", "h3"]


def test_links_at_the_top_lead_to_every_section() -> None:
    elements = Elements(report.render(sample())).found
    anchors = [attributes["id"] for tag, attributes in elements if tag == "h2"]
    assert [attributes["href"] for tag, attributes in elements if tag == "a"] == [f"#{anchor}" for anchor in anchors]
    assert len(anchors) == 2


def test_a_report_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/report\.html"):
        report.write(sample(), tmp_path / "file" / "report.html")
