"""What lies behind addresses, of a server that fails now and then."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared import source
from tests.faulty_server import Faulty, serving
from tests.photos import draw


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs, some of them also under names that `Faulty` knows."""
    folder = draw(tmp_path_factory.mktemp("photos") / "set") / "images"
    for name, other in (("00", "busy"), ("01", "short"), ("02", "cut")):
        shutil.copy(folder / f"{name}.jpg", folder / f"{other}.jpg")
    return folder


@pytest.fixture(scope="module")
def address(photographs: Path) -> Iterator[str]:
    """Of a server of the photographs' folder."""
    with serving(photographs) as found:
        yield found


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between attempts, in which nobody waits here."""
    found: list[float] = []
    monkeypatch.setattr(source, "time", SimpleNamespace(sleep=found.append, monotonic=time.monotonic))
    return found


def test_a_server_is_asked_again_where_it_is_busy_or_breaks_off_after_twice_as_long_each_time(
    photographs: Path, address: str, pauses: list[float]
) -> None:
    assert source.fetch(f"{address}/busy.jpg") == (photographs / "00.jpg").read_bytes()
    assert pauses == [0.5, 1.0]
    assert source.fetch(f"{address}/short.jpg") == (photographs / "01.jpg").read_bytes()
    assert Faulty.asked["/busy.jpg"] == Faulty.asked["/short.jpg"] == 3


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize(
    ("name", "kind", "says", "asked"),
    [
        ("none.jpg", FileNotFoundError, "404", 1),
        ("locked.jpg", OSError, "the server answers 403", 1),
        ("gone.jpg", OSError, f"{source.ATTEMPTS} attempts, the last: .*502", source.ATTEMPTS),
        ("cut.jpg", OSError, f"{source.ATTEMPTS} attempts, the last: .*truncated or damaged", source.ATTEMPTS),
    ],
)
def test_what_a_server_does_not_give_is_named_and_not_asked_for_in_vain(
    name: str, kind: type, says: str, asked: int, address: str
) -> None:
    Faulty.asked.clear()
    with pytest.raises(kind, match=f"^{re.escape(f'{address}/{name}')}: {says}"):
        source.fetch(f"{address}/{name}")
    assert Faulty.asked[f"/{name}"] == asked


def test_a_server_that_says_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ATTEMPTS", 2)
    monkeypatch.setattr(source, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(source, "SILENT_SECONDS", 0.2)
    silent = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)  # listens, and takes nobody in
    with silent, pytest.raises(OSError, match=r"2 attempts, the last: .*timed out"):
        source.fetch(f"http://127.0.0.1:{silent.server_port}/a.jpg")
