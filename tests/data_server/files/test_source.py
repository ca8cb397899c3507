"""Images that are no files of their own: in archives, and behind addresses of a server that fails now and then."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import lmdb
import pytest

from data_server.files import source
from shared.errors import UserError
from tests.cluster import Cluster, digests
from tests.data_server.files.test_archives import pack
from tests.photos import annotations_of, config_of, draw, write_annotations

STEPS = 8


class Faulty(SimpleHTTPRequestHandler):
    """Serves a folder; the names of what it serves say how.

    busy     503, twice, then the file
    short    twice half of the file and the end of the connection, then the file
    cut      a JPEG that the server itself has only half of, always
    locked   403
    gone     502, always
    """

    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        name = Path(self.path).name
        self.asked[self.path] += 1
        if "locked" in name or "gone" in name:
            return self.send_error(403 if "locked" in name else 502)
        first = self.asked[self.path] <= 2
        if "busy" in name and first:
            return self.send_error(503)
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        half = content[: len(content) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(half if "cut" in name else content)))
        self.end_headers()
        self.wfile.write(half if "cut" in name or ("short" in name and first) else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("photos") / "set")


@pytest.fixture(scope="module")
def address(photographs: Path) -> Iterator[str]:
    """Of a server of the photographs' folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Faulty, directory=str(photographs)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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


@pytest.mark.parametrize("where", ["stored.zip", "deflated.zip", "gnu.tar", "http", "two archives", "lmdb"])
def test_a_stream_from_elsewhere_is_that_of_the_folder(
    where: str, cluster: Cluster, photographs: Path, address: str, tmp_path: Path
) -> None:
    expected = digests(cluster.open(config_of(photographs)), STEPS)
    files = {path.name: path.read_bytes() for path in sorted((photographs / "images").glob("??.jpg"))}
    content = annotations_of(photographs)
    folder = tmp_path / "set"
    folder.mkdir()
    if where == "http":
        prefix = f"{address}/images/"
    elif where == "two archives":
        prefix = "./"
        for name, some in (("a.zip", list(files)[:5]), ("b.tar", list(files)[5:])):
            pack(folder / name, {f"inner/{one}": files[one] for one in some})
            for image in content["images"]:
                if image["file_name"] in some:
                    image["file_name"] = f"{name}/inner/{image['file_name']}"
    else:
        prefix = f"{where}/"
        pack(folder / where, files)
    write_annotations(folder, content)
    config = config_of(folder)
    config["dataset"]["data_prefix"] = {"img": prefix}
    if where == "lmdb":
        with lmdb.open(str(folder / "images.lmdb"), map_size=1 << 20) as store, store.begin(write=True) as keys:
            for name, content in files.items():
                keys.put(f"{folder}/lmdb/{name}".encode(), content)
        backend = {"backend": "lmdb", "db_path": str(folder / "images.lmdb")}
        config["dataset"]["pipeline"][0]["backend_args"] = backend
    found = digests(cluster.open(config), STEPS)
    assert len(expected) == STEPS and found == expected


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        ("some.zip/", r"image '.*/some\.zip/05\.jpg': no such file"),
        ("{address}/none", r"image 'http://.*/none/0.\.jpg': no such file"),
        ("broken.zip/", r"archive '.*broken\.zip' cannot be read: .*not a zip file"),
    ],
)
def test_an_image_that_is_not_there_ends_the_stream_by_name(
    prefix: str, says: str, cluster: Cluster, photographs: Path, address: str, tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in sorted((photographs / "images").glob("??.jpg"))}
    del files["05.jpg"]
    pack(tmp_path / "some.zip", files)
    (tmp_path / "broken.zip").write_bytes(b"PK" * 40)
    write_annotations(tmp_path, annotations_of(photographs))
    config = config_of(tmp_path)
    config["dataset"]["data_prefix"] = {"img": prefix.format(address=address)}
    with pytest.raises(UserError, match=says):
        digests(cluster.open(config), STEPS)
