"""What is kept of a file's digest is that of what the file holds, or it is not used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import xxhash

from shared import contents


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where digests are kept; files are never too fresh."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "FRESH_NS", -1)
    return tmp_path / "cache" / "unidetector" / "contents"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"some content")
    return tmp_path / "file"


def digest(path: Path) -> str:
    return contents.file_digest(str(path))


def right(path: Path) -> str:
    return xxhash.xxh3_128(path.read_bytes()).hexdigest()


@pytest.mark.usefixtures("cache")
def test_a_digest_is_computed_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert digest(path) == right(path)
    monkeypatch.setattr(contents, "_STEP", None)  # so that no byte can be read
    assert digest(path) == right(path)


@pytest.mark.usefixtures("cache")
def test_an_edit_in_place_with_equal_size_and_time_is_noticed(path: Path) -> None:
    digest(path)
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"S")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest(path) == right(path)


def test_the_digest_of_a_file_that_has_just_been_written_is_not_kept(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "FRESH_NS", 10**12)
    assert digest(path) == right(path)
    assert not cache.exists()


@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 49, b"\xff" * 49, None], ids=str)
def test_damage_to_what_is_kept_is_noticed(path: Path, cache: Path, damage: bytes | None) -> None:
    digest(path)
    (kept,) = cache.iterdir()
    flipped = bytearray(kept.read_bytes())
    flipped[3] ^= 1
    kept.write_bytes(bytes(flipped) if damage is None else damage)
    assert digest(path) == right(path)


def test_a_digest_of_another_file_is_not_taken(path: Path, cache: Path) -> None:
    digest(path)
    (kept,) = cache.iterdir()
    taken = kept.read_bytes()
    path.write_bytes(b"other content")
    digest(path)
    (other,) = set(cache.iterdir()) - {kept}
    other.write_bytes(taken)
    assert digest(path) == right(path)


def test_where_nothing_can_be_kept_the_file_is_read(path: Path, cache: Path) -> None:
    cache.parent.parent.mkdir()
    cache.parent.write_text("in the way")
    assert digest(path) == right(path)


@pytest.mark.usefixtures("homeless")
def test_without_a_place_to_keep_it_a_digest_is_computed_every_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "FRESH_NS", -1)
    assert digest(path) == digest(path) == right(path)
