"""What lies behind addresses, of a server that fails now and then."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared import source
from tests.faulty_server import Faulty, serving
from tests.photos import annotations_of, draw, write_annotations


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("photos") / "set")


@pytest.fixture(scope="module")
def address(photographs: Path) -> Iterator[str]:
    """Of a server of the photographs' folder."""
    with serving(photographs) as found:
        yield found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "FIRST_PAUSE_SECONDS", 0.01)


def renamed(photographs: Path, folder: Path, **names: str) -> Path:
    """A folder with annotations of the photographs in which some files have other names, and copies of those files."""
    content = annotations_of(photographs)
    for image in content["images"]:
        stem = image["file_name"].removesuffix(".jpg")
        if other := names.get(f"n{stem}"):
            (photographs / "images" / other).write_bytes((photographs / "images" / image["file_name"]).read_bytes())
            image["file_name"] = other
    folder.mkdir()
    write_annotations(folder, content)
    return folder


@pytest.mark.usefixtures("quick")
def test_a_server_is_asked_again_where_it_is_busy_or_breaks_off(
    photographs: Path, address: str, tmp_path: Path
) -> None:
    renamed(photographs, tmp_path / "set", n00="busy.jpg", n01="short.jpg")
    whole = (photographs / "images" / "00.jpg").read_bytes()
    assert source.fetch(f"{address}/images/busy.jpg") == whole
    assert source.fetch(f"{address}/images/short.jpg") == (photographs / "images" / "01.jpg").read_bytes()
    assert Faulty.asked["/images/busy.jpg"] == Faulty.asked["/images/short.jpg"] == 3


@pytest.mark.usefixtures("quick")
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
    name: str, kind: type, says: str, asked: int, photographs: Path, address: str, tmp_path: Path
) -> None:
    renamed(photographs, tmp_path / "set", n02="cut.jpg")
    Faulty.asked.clear()
    with pytest.raises(kind, match=f"^{re.escape(f'{address}/images/{name}')}: {says}"):
        source.fetch(f"{address}/images/{name}")
    assert Faulty.asked[f"/images/{name}"] == asked


def test_a_server_that_says_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ATTEMPTS", 2)
    monkeypatch.setattr(source, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(source, "SILENT_SECONDS", 0.2)
    silent = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)  # listens, and takes nobody in
    with silent, pytest.raises(OSError, match=r"2 attempts, the last: .*timed out"):
        source.fetch(f"http://127.0.0.1:{silent.server_port}/a.jpg")
