"""Charts in a page and in a file: the same in both, in every process and whatever names they hold."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tests.trainer.reporting.charts.drawn import Drawn
from trainer.reporting import charts
from trainer.reporting.charts import BarChart, LineChart, Series
from trainer.reporting.charts.figure import PNG_SCALE
from trainer.reporting.charts.layout import HEIGHT, WIDTH
from trainer.reporting.charts.style import COLOURS

ROOT = Path(__file__).parents[4]
LINES = LineChart("Losses", "steps", [Series("loss", [2.0, 1.0, 0.5], [1, 2, 3]), Series("b", [1.0], [2])], True)
BARS = BarChart("Counts", "detections", ["cat", "dog"], [Series("before", [9, 1]), Series("after", [5, 4])])
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "&amp; &lt; ]]> --> {{ 7 * 7 }} {% raw %}",
    "$x_1$ and $\\frac{1}{2}$",
    "犬 🐶 \u202eabc",
]
DIGESTS = f"""
import hashlib, pathlib, sys
from trainer.reporting import charts
from trainer.reporting.charts import BarChart, LineChart, Series
chart = {LINES!r}
charts.draw(sys.argv[1], [chart])
print(hashlib.sha256(charts.svg(chart).encode() + pathlib.Path(sys.argv[1]).read_bytes()).hexdigest())
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "always", "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


def test_the_same_chart_has_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    charts.draw(tmp_path / "here.png", [LINES])
    here = hashlib.sha256(charts.svg(LINES).encode() + (tmp_path / "here.png").read_bytes()).hexdigest()
    there = python(DIGESTS, str(tmp_path / "there.png"), PYTHONHASHSEED="7", SOURCE_DATE_EPOCH="0")
    assert there.stdout.split() == [here], there.stderr


def test_a_users_settings_of_matplotlib_neither_show_nor_change(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = charts.svg(LINES)
    settings = {"lines.linewidth": 9, "axes.facecolor": "red", "svg.fonttype": "path", "xtick.direction": "in"}
    for name, value in settings.items():
        monkeypatch.setitem(matplotlib.rcParams, name, value)
    assert charts.svg(LINES) == expected
    assert {name: matplotlib.rcParams[name] for name in settings} == settings


def test_a_cache_that_cannot_be_written_is_nothing_to_tell_a_user_of(tmp_path: Path) -> None:
    done = python(DIGESTS, str(tmp_path / "one.png"), MPLCONFIGDIR="/dev/null/matplotlib")
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the bits are those of an x86-64 processor")
def test_a_processor_that_takes_subnormal_numbers_for_zero_is_nothing_to_tell_a_user_of(tmp_path: Path) -> None:
    flush = """
import ctypes
library, state = ctypes.CDLL("libm.so.6"), (ctypes.c_uint32 * 8)()
library.fegetenv(state)
state[7] |= 0x8040  # MXCSR: flush to zero, denormals are zero; Jittor's kernels, built with -ffast-math, set them too
library.fesetenv(state)
"""
    noted = python(flush + "import numpy; str(numpy.finfo(float).smallest_subnormal)")
    assert "smallest subnormal" in noted.stderr
    done = python(flush + DIGESTS, str(tmp_path / "one.png"))
    assert done.returncode == 0 and done.stderr == ""


def test_matplotlib_is_imported_when_a_chart_is_drawn_and_never_its_global_part(tmp_path: Path) -> None:
    code = "import sys, trainer.reporting.curves; print('matplotlib' in sys.modules)\n" + DIGESTS
    done = python(code + "print('matplotlib.pyplot' in sys.modules)", str(tmp_path / "one.png"))
    assert done.stdout.split()[::2] == ["False", "False"], done.stderr


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("error")
def test_names_are_shown_as_they_are_and_never_taken_for_markup(name: str, tmp_path: Path) -> None:
    charts.draw(tmp_path / "one.png", [LineChart(name, name, [Series(name, [1.0], [1])])])
    for chart in (
        LineChart(name, name, [Series("a", [1.0], [1])]),
        BarChart(name, name, ["a"], [Series("a", [1.0])]),
    ):
        drawn = Drawn(chart)
        assert [text for text, *_ in drawn.texts].count(name) == 2  # title and unit
        assert {one.tag for one in drawn.root.iter()} <= {"svg", "g", "defs", "path", "use", "text", "clipPath", "rect"}
        assert drawn.root.attrib["aria-label"].startswith(name)


@pytest.mark.parametrize("name", ["nul\x00 bell\x07", "half \ud83d", "two\nlines\ttab"])
def test_names_with_characters_that_no_page_can_hold_are_drawn(name: str, tmp_path: Path) -> None:
    drawn = Drawn(BarChart(name, name, [name], [Series(name, [1.0])]))
    assert sum(text.startswith(name[:3]) for text, *_ in drawn.texts) == 4
    charts.draw(tmp_path / "one.png", [LineChart(name, name, [Series(name, [1.0], [1])])])
    assert (tmp_path / "one.png").stat().st_size > 1000


def test_a_chart_in_a_page_is_text_in_the_pages_font_that_scales_and_names_itself() -> None:
    text = charts.svg(LINES)
    assert text.startswith(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" ')
    assert 'aria-label="Losses: loss ends at 0.5; b ends at 1"' in text
    assert "font-family: system-ui, sans-serif" in text and "DejaVu" not in text
    for foreign in ("xmlns", "<style", "metadata", "<?xml", "<!"):
        assert foreign not in text


def test_names_within_a_chart_are_its_own_in_a_page_of_many() -> None:
    other = LineChart("Losses", "steps", [Series("loss", [2.0, 1.5, 0.5], [1, 2, 3])], True)
    identifiers = [re.findall(r'\bid="([^"]+)"', charts.svg(chart)) for chart in (LINES, other)]
    assert all(found and len(found) == len(set(found)) for found in identifiers)
    assert not set(identifiers[0]) & set(identifiers[1])
    for used in re.findall(r'(?:href="|url\()#([^")]+)', charts.svg(LINES)):
        assert used in identifiers[0]


def test_a_picture_shows_what_the_page_shows(tmp_path: Path) -> None:
    chart = LineChart("t", "steps", [Series("a", [0.0, 1.0] * 20, range(40))])
    charts.draw(tmp_path / "one.png", [chart])
    picture = np.asarray(Image.open(tmp_path / "one.png").convert("RGB"))
    (line,) = Drawn(chart).lines(COLOURS[0])
    blue = np.array([0x00, 0x72, 0xB2])
    assert len(line) == 40
    for x, y in line[1:-1]:
        row, column = round(y * PNG_SCALE), round(x * PNG_SCALE)
        near = picture[row - 3 : row + 4, column - 3 : column + 4]
        assert (np.abs(near.astype(int) - blue) < 60).all(-1).any(), (x, y)
    assert (picture[[0, -1]] == 255).all()  # the ground is white


def test_several_charts_are_two_in_a_row_each_in_its_place(tmp_path: Path) -> None:
    charts.draw(tmp_path / "one.png", [LINES])
    one = np.asarray(Image.open(tmp_path / "one.png").convert("RGB"), int)
    height, width = one.shape[:2]
    assert (height, width) == ((HEIGHT + 24) * PNG_SCALE, (WIDTH + 24) * PNG_SCALE)
    for count, (columns, rows) in {2: (2, 1), 5: (2, 3)}.items():
        charts.draw(tmp_path / "all.png", [LINES] * count)
        picture = np.asarray(Image.open(tmp_path / "all.png").convert("RGB"), int)
        assert picture.shape[:2] == (rows * height, columns * width)
        for index in range(count):
            y, x = index // 2 * height, index % 2 * width
            assert (np.abs(picture[y : y + height, x : x + width] - one) > 60).any(-1).mean() < 0.005


def test_a_short_chart_beside_a_tall_one_starts_at_the_same_height(tmp_path: Path) -> None:
    charts.draw(tmp_path / "all.png", [LINES, BARS])
    with Image.open(tmp_path / "all.png") as picture:
        dark = np.asarray(picture.convert("L")) < 128
    half = dark.shape[1] // 2
    tops = [int(np.flatnonzero(side.any(1))[0]) for side in (dark[:, :half], dark[:, half:])]
    assert abs(tops[0] - tops[1]) <= 2
