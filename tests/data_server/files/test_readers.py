"""Data sets whose images, annotations or all files lie in archives or behind addresses, through a data server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from shared.errors import UserError
from tests.cluster import Cluster, digests
from tests.faulty_server import serving
from tests.photos import annotations_of, config_of, write_annotations
from tests.shared.test_archives import pack

STEPS = 8
_EDGES = ("xmin", "ymin", "xmax", "ymax")


@pytest.fixture(scope="module")
def address(photos: Path) -> Iterator[str]:
    """Of a server of the photographs' folder."""
    with serving(photos) as found:
        yield found


@pytest.mark.parametrize("where", ["stored.zip", "deflated.zip", "gnu.tar", "http", "two archives", "lmdb"])
def test_a_stream_from_elsewhere_is_that_of_the_folder(
    where: str, cluster: Cluster, photos: Path, address: str, tmp_path: Path
) -> None:
    expected = digests(cluster.open(config_of(photos)), STEPS)
    files = {path.name: path.read_bytes() for path in sorted((photos / "images").glob("??.jpg"))}
    content = annotations_of(photos)
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
    prefix: str, says: str, cluster: Cluster, photos: Path, address: str, tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in sorted((photos / "images").glob("??.jpg"))}
    del files["05.jpg"]
    pack(tmp_path / "some.zip", files)
    (tmp_path / "broken.zip").write_bytes(b"PK" * 40)
    write_annotations(tmp_path, annotations_of(photos))
    config = config_of(tmp_path)
    config["dataset"]["data_prefix"] = {"img": prefix.format(address=address)}
    with pytest.raises(UserError, match=says):
        digests(cluster.open(config), STEPS)


@pytest.mark.parametrize("where", ["gnu.tar", "http"])
def test_a_whole_voc_folder_from_elsewhere_is_read_as_a_folder(
    where: str, cluster: Cluster, photos: Path, tmp_path: Path
) -> None:
    files = {f"JPEGImages/{path.name}": path.read_bytes() for path in sorted((photos / "images").glob("0?.jpg"))}
    files["ImageSets/all.txt"] = "\n".join(f"0{number}" for number in range(10)).encode()
    for number in range(10):
        box = "".join(f"<{edge}>{10 + 9 * place + number}</{edge}>" for place, edge in enumerate(_EDGES))
        size = "<size><width>90</width><height>60</height></size>" if number < 6 else ""  # the rest is looked up
        objects = f"<object><name>lamp</name><bndbox>{box}</bndbox></object>"
        files[f"Annotations/0{number}.xml"] = f"<annotation>{size}{objects}</annotation>".encode()
    for name, content in files.items():
        (tmp_path / "VOC" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "VOC" / name).write_bytes(content)
    pack(tmp_path / "gnu.tar", {f"VOC/{name}": content for name, content in files.items()})
    with serving(tmp_path) as address:
        root = {"gnu.tar": f"{tmp_path}/gnu.tar/VOC", "http": f"{address}/VOC"}[where]
        expected, found = (digests(cluster.open(_voc_below(place)), STEPS) for place in (f"{tmp_path}/VOC", root))
    assert found == expected and len(found) == STEPS


def _voc_below(root: str) -> dict[str, Any]:
    places = {"ann_file": f"{root}/ImageSets/all.txt", "data_prefix": {"sub_data_root": root}}
    return config_of(Path(), type="VOCDataset", data_root="", **places)
