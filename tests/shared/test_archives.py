"""Members of archives: their bytes, what is not there, damaged or packed in another way, and large numbers of them."""

from __future__ import annotations

import io
import multiprocessing
import os
import tarfile
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shared import archives, source
from shared.errors import UserError

NAMES = ["a.jpg", "dog/b.jpg", "dog/cat/c with blanks.jpg", "dög.jpg", f"{'long' * 40}.jpg", "empty.jpg"]
CONTENTS = {name: np.random.default_rng(len(name)).bytes(977 * len(name)) for name in NAMES} | {"empty.jpg": b""}
KINDS = ("stored.zip", "deflated.ZIP", "gnu.tar", "pax.tar", "ustar.tar")


def pack(path: Path, contents: dict[str, bytes] = CONTENTS) -> Path:
    """Makes an archive whose name says of what kind it is; names begin with ``./`` in a .tar."""
    if path.suffix.lower() == ".zip":
        method = zipfile.ZIP_DEFLATED if "deflated" in path.name else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
        return path
    form = {"pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}.get(path.name.split(".")[0], tarfile.GNU_FORMAT)
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz", format=form) as archive:
        for name, content in contents.items():
            if form != tarfile.USTAR_FORMAT or len(name) < 100:
                entry = tarfile.TarInfo(f"./{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_member_has_the_bytes_that_were_packed(kind: str, tmp_path: Path) -> None:
    path = pack(tmp_path / kind)
    for name, content in CONTENTS.items():
        if kind != "ustar.tar" or len(name) < 100:
            assert source.read(f"{path}/{name}") == source.read(f"{path}/./{name}") == content
            assert source.size(f"{path}/{name}") == len(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_is_not_there_is_no_file(kind: str, tmp_path: Path) -> None:
    path = pack(tmp_path / kind)
    for name in ("none.jpg", "dog", "A.jpg"):
        with pytest.raises(FileNotFoundError, match=f"{kind}' has no '{name}'"):
            source.read(f"{path}/{name}")
        assert source.size(f"{path}/{name}") is None


def test_of_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    for kind in ("twice.tar", "twice.zip"):
        pack(tmp_path / kind, {"a": b"first"})
        if kind.endswith("zip"):
            with zipfile.ZipFile(tmp_path / kind, "a") as archive, pytest.warns(UserWarning):
                archive.writestr("a", b"second")
        else:
            with tarfile.open(tmp_path / kind, "a") as tape:
                entry = tarfile.TarInfo("a")
                entry.size = 6
                tape.addfile(entry, io.BytesIO(b"second"))
        assert source.read(tmp_path / kind / "a") == b"second"


def test_a_folder_that_is_called_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").mkdir()
    (tmp_path / "a.zip" / "b.jpg").write_bytes(b"b")
    assert source.read(tmp_path / "a.zip" / "b.jpg") == b"b"


@pytest.mark.parametrize("kind", ["stored.zip", "deflated.zip"])
def test_a_damaged_member_is_named(kind: str, tmp_path: Path) -> None:
    path = pack(tmp_path / kind)
    content = bytearray(path.read_bytes())
    content[content.index(b"a.jpg") + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match=rf"{kind}': 'a.jpg' is damaged: "):
        source.read(path / "a.jpg")
    assert source.read(path / "dog/b.jpg") == CONTENTS["dog/b.jpg"]


def test_what_cannot_be_read_member_by_member_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"b\.tar\.gz': members of a compressed \.tar .* make it a plain \.tar"):
        source.read(pack(tmp_path / "b.tar.gz") / "a.jpg")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.jpg", b"a")
    with pytest.raises(OSError, match=r"b\.zip': 'a\.jpg' is encrypted, sparse or compressed in another way"):
        source.read(tmp_path / "b.zip" / "a.jpg")


@pytest.mark.parametrize("name", ["c.zip", "c.tar"])
def test_a_file_that_is_no_archive_ends_a_start_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"a text" * 400)
    with pytest.raises(UserError, match=rf"archive '.*{name}' cannot be read: "):
        archives.open_all([f"{tmp_path}/{name}/a.jpg"])


def test_an_archive_that_is_written_anew_while_it_is_in_use_is_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "stored.zip")
    assert source.read(path / "a.jpg") == CONTENTS["a.jpg"]
    pack(path, {"a.jpg": b"another"})
    with pytest.raises(OSError, match=r"stored\.zip' has changed since it was opened"):
        source.read(path / "a.jpg")


def _reads(folder: Path, number: int) -> bool:
    chance = np.random.default_rng(number)
    kinds = ("stored.zip", "deflated.zip", "gnu.tar")
    chosen = [(kinds[chance.integers(3)], NAMES[chance.integers(len(NAMES))]) for _ in range(300)]
    return all(source.read(folder / kind / name) == CONTENTS[name] for kind, name in chosen)


def test_forked_processes_read_at_once_from_what_was_opened_before(tmp_path: Path) -> None:
    for kind in ("stored.zip", "deflated.zip", "gnu.tar"):
        pack(tmp_path / kind)
        archives.open_all([f"{tmp_path}/{kind}/a.jpg"])
    with ProcessPoolExecutor(4, multiprocessing.get_context("fork")) as pool:
        assert all(pool.map(_reads, [tmp_path] * 8, range(8)))


def test_a_member_costs_no_more_than_its_columns(tmp_path: Path) -> None:
    count = 5000
    archive = archives.Archive(str(pack(tmp_path / "many.zip", {f"{n:012}.jpg": os.urandom(3) for n in range(count)})))
    assert len(archive) == count
    assert archive.keys.nbytes + archive._columns.nbytes == 48 * count
