"""The report: a browser shows it without a complaint, a network or a script, and it says what it was given."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from tests.browser import open_page
from trainer.reporting import html as report
from trainer.reporting.charts import BarChart, LineChart, Series
from trainer.reporting.charts.layout import COLOURS
from trainer.reporting.html import Gallery, Picture, Report, Section, Table, Text

RED = np.full((90, 160, 3), (250, 0, 0), np.uint8)


def sample() -> Report:
    lines = LineChart("Losses", "steps", [Series("loss_cls", [2.0, 1.0, 0.5], [1, 2, 3])])
    bars = BarChart("Counts", "detections", ["cat", "dog"], [Series("before", [9, 1]), Series("after", [5, 4])])
    table = Table("AP", ["split", "AP50", "images"], [["base", 0.6314, 80], ["new", float("nan"), None]], ["AP50"])
    pictures = Gallery("Best", [Picture(RED, "image 7", "4 of 5 found")], "Ground truth is dashed.")
    sections = [Section("Numbers <now>", [Text("Fine & well."), table, lines, bars]), Section("Pictures", [pictures])]
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
            assert re.match(r"data:|#part-\d+$", attributes.get(name, "data:")), (tag, attributes)
    assert "url(" not in text and "@import" not in text


def test_text_is_never_taken_for_markup() -> None:
    page = Elements(report.render(sample()))
    assert "Numbers <now>" in page.text and "Fine & well." in page.text


def test_numbers_have_three_decimals_missing_ones_a_dash_and_the_largest_is_bold() -> None:
    table = Table("", ["split", "AP", "n"], [["a", 0.25, 1000], ["b", 0.5, None], ["c", float("nan"), 3]], ["AP"])
    text = report.render(Report("t", "s", [Section("x", [table])]))
    assert re.findall(r"<td[^>]*>(.*?)</td>", text) == ["0.250", "1,000", "<b>0.500</b>", "–", "–", "3"]


def test_of_equal_numbers_none_is_bold() -> None:
    table = Table("", ["split", "AP"], [["a", 0.0], ["b", 0.0]], ["AP"])
    assert "<b>" not in report.render(Report("t", "s", [Section("x", [table])]))


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


def test_large_pictures_are_scaled_down() -> None:
    large = np.random.default_rng(0).integers(0, 255, (1600, 3200, 3)).astype(np.uint8)
    text = report.render(Report("t", "s", [Section("x", [Gallery("g", [Picture(large, "one")])])]))
    assert len(text) < 800_000


def test_a_report_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the report .*file/report\.html"):
        report.write(sample(), tmp_path / "file" / "report.html")
