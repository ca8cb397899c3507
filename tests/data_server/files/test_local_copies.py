"""Annotation files in archives and behind addresses: the data set is that of the plain file; copies are made once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_server.files import local_copies
from shared import source
from shared.errors import UserError
from tests.cluster import Cluster, digests
from tests.faulty_server import Faulty, serving
from tests.photos import config_of, write_open_images
from tests.shared.test_archives import pack

STEPS = 4
TEXT = b'{"images": []}'


@pytest.fixture(scope="module")
def cluster(photos: Path) -> Iterator[Cluster]:
    """A data server for which the photographs' folder is the store of `own_backend`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORE", str(photos))
        own = Cluster()
        yield own
        own.stop()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "unidetector" / "copies"


@pytest.mark.parametrize("where", ["deflated.zip", "gnu.tar", "gnu.tar.gz", "http", "store", "backend"])
def test_annotations_from_elsewhere_are_those_of_the_plain_file(
    where: str, cluster: Cluster, photos: Path, tmp_path: Path
) -> None:
    expected = digests(cluster.open(config_of(photos)), STEPS)
    changes: dict[str, Any] = {"custom_imports": {"imports": ["tests.data_server.files.own_backend"]}}
    of_root = {"data_root": "", "data_prefix": {"img": f"{photos}/images"}}
    with serving(photos) as address:
        if where == "http":
            changes |= {"ann_file": f"{address}/all.json"}
        elif where == "store":
            changes |= {"ann_file": "store://all.json", **of_root}
        elif where == "backend":
            changes |= {"ann_file": "all.json", "backend_args": {"backend": "store"}, **of_root}
        else:
            pack(tmp_path / where, {"annotations/all.json": (photos / "all.json").read_bytes()})
            changes |= {"ann_file": f"{tmp_path}/{where}/annotations/all.json"}
        found = digests(cluster.open(config_of(photos, **changes)), STEPS)
    assert found == expected and len(found) == STEPS


def test_all_files_of_open_images_may_lie_in_an_archive(cluster: Cluster, photos: Path, tmp_path: Path) -> None:
    plain = write_open_images(photos, tmp_path)
    names = {key: Path(name).name for key, name in plain.items() if key.endswith("_file")}
    pack(tmp_path / "a.tar", {name: (tmp_path / name).read_bytes() for name in names.values()})
    packed = {**plain, **{key: f"{tmp_path}/a.tar/{name}" for key, name in names.items()}}
    expected, found = (digests(cluster.open(config_of(photos, **one)), STEPS) for one in (plain, packed))
    assert len(names) == 4 and found == expected and len(found) == STEPS


def test_a_file_of_this_machine_is_used_as_it_lies_there(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.json").write_bytes(TEXT)
    assert local_copies.local(f"{tmp_path}/a.json") == f"{tmp_path}/a.json"
    assert local_copies.local("none.json", {"backend": "local"}) == "none.json"
    assert not cache.exists()


@pytest.mark.parametrize("kind", ["stored.zip", "deflated.zip", "gnu.tar", "gnu.tar.gz"])
def test_a_member_is_unpacked_once_until_its_archive_changes(kind: str, tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / kind, {"a/b.json": TEXT, "c.json": b"other"})
    place = Path(local_copies.local(f"{path}/a/b.json"))
    assert place.read_bytes() == TEXT and place.name == "b.json" and cache in place.parents
    made = place.stat()
    assert Path(local_copies.local(f"{path}/a/b.json")) == place
    assert place.stat().st_ctime_ns == made.st_ctime_ns
    pack(path, {"a/b.json": b"{}"})
    assert Path(local_copies.local(f"{path}/a/b.json")).read_bytes() == b"{}"


@pytest.mark.usefixtures("cache")
def test_of_what_is_fetched_the_content_decides(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    file = tmp_path / "web" / "busy.json"
    file.write_bytes(TEXT)
    Faulty.asked.clear()
    with serving(tmp_path / "web") as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "FIRST_PAUSE_SECONDS", 0.01)
        place = Path(local_copies.local(f"{address}/busy.json"))
        assert place.read_bytes() == TEXT and Faulty.asked["/busy.json"] == 3
        assert Path(local_copies.local(f"{address}/busy.json")) == place
        assert Faulty.asked["/busy.json"] == 3
        file.write_bytes(b"{}")
        local_copies.fetched.clear()  # as in another process
        assert Path(local_copies.local(f"{address}/busy.json")).read_bytes() == b"{}"
        assert place.read_bytes() == TEXT
        with pytest.raises(UserError, match=r"^annotation file 'http.*/none\.json' cannot be fetched: .*404"):
            local_copies.local(f"{address}/none.json")
    with pytest.raises(UserError, match=r"^annotation file 'petrel://a' cannot be fetched: ImportError: .*petrel"):
        local_copies.local("petrel://a")


@pytest.mark.usefixtures("cache")
def test_copies_that_nobody_uses_are_removed(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {name: name.encode() for name in ("old", "used", "new")})
    old, used = (Path(local_copies.local(f"{path}/{name}")) for name in ("old", "used"))
    long_ago = time.time() - (local_copies.MOST_DAYS + 1) * 86400
    for one in (old, used):
        os.utime(one.parent, (long_ago, long_ago))
    local_copies.local(f"{path}/used")
    local_copies.local(f"{path}/new")
    assert used.exists() and not old.parent.exists()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: pack(path, {"other.json": TEXT}), "has no 'a.json'"),
        (lambda path: path.write_bytes(b"PK" * 40), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes().replace(TEXT, TEXT[::-1])), "cannot be read: BadZipFile"),
    ],
)
def test_a_member_that_cannot_be_had_is_named_and_leaves_nothing(
    spoil: Any, says: str, tmp_path: Path, cache: Path
) -> None:
    path = pack(tmp_path / "stored.zip", {"a.json": TEXT})
    spoil(path)
    with pytest.raises(UserError, match=rf"^annotation file '.*stored\.zip/a\.json': .*{says}"):
        local_copies.local(f"{path}/a.json")
    assert not [one for one in cache.rglob("*") if one.is_file()]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "a.zip", {"a.json": TEXT})
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"its copy cannot be kept: .*; make it writable, set XDG_CACHE_HOME"):
        local_copies.local(f"{path}/a.json")
