"""The file that proposals are kept in: how it grows, and what is no such file."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

from data_server.files import proposal_file
from data_server.files.image_names import ImageNames
from data_server.files.proposal_file import ProposalFile, Writer
from shared.errors import UserError
from tests.cluster import ROOT
from tests.data_server.proposals import MODEL, true_boxes, write


@pytest.fixture
def folder(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "set")
    return tmp_path / "set"


def with_first_count(content, change):
    (length,) = struct.unpack("<Q", content[:8])
    (count,) = struct.unpack_from("<q", content, 8 + length)
    assert count
    return content[: 8 + length] + struct.pack("<q", change(count)) + content[16 + length :]


@pytest.mark.parametrize("damage", ["short", "long", "header", "text", "model", "counts", "negative"])
def test_a_damaged_file_is_refused(folder, damage):
    file = write(folder)
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    file.write_bytes(
        {
            "short": content[:-8],
            "long": content + b"\0" * 8,
            "counts": with_first_count(content, lambda count: count + 1),
            "negative": with_first_count(content, lambda count: -count),
            "header": struct.pack("<Q", 1 << 60) + content[8:],
            "text": b"x" * 20,
            "model": content.replace(MODEL.encode(), b"../" + MODEL[3:].encode()),
        }[damage]
    )
    assert length < len(content)
    with pytest.raises(UserError, match="cut short, or not made by python -m trainer propose"):
        ProposalFile.open(file)


@pytest.mark.parametrize(
    ("name", "key", "change", "says"),
    [
        ("counts", "dtype", lambda _: "U64", "an array"),
        ("proposals", "dtype", lambda _: "F64", "an array"),
        ("counts", "shape", lambda shape: [-shape[0]], "an array"),
        ("proposals", "shape", lambda shape: [shape[0] + 1, 5], "an array"),
        ("proposals", "shape", lambda shape: [float(shape[0]), 5], "an array"),
        ("images", "data_offsets", lambda offsets: list(map(str, offsets)), "an array"),
        ("images", "data_offsets", lambda offsets: [offset + (1 << 20) for offset in offsets], "the file ends at byte"),
        ("counts", "data_offsets", lambda offsets: [offset - 8 for offset in offsets], "an array at"),
        ("images", "data_offsets", lambda offsets: offsets[:1], "ValueError"),
        ("images", None, None, "KeyError: 'images'"),
        ("__metadata__", None, None, "KeyError: '__metadata__'"),
        ("__metadata__", "data", lambda _: "a/b", "data is 'a/b', expected a fingerprint: letters and digits"),
        ("__metadata__", "model", lambda _: 7, "model is 7, expected a fingerprint: letters and digits"),
        ("proposals", "shape", lambda shape: [5, shape[0]], r"\d+ images, counts \(\d+,\), proposals \(5, \d+\)"),
        ("images", "shape", lambda shape: [1, shape[0]], r"\d+ images, counts"),
        ("image_ends", "shape", lambda shape: [shape[0], 1], r"\d+ images, counts"),
    ],
)
def test_a_header_that_lies_is_refused_with_what_it_says(folder, name, key, change, says):
    file = write(folder)
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if change is None:
        del header[name]
    else:
        header[name][key] = change(header[name][key])
    file.write_bytes(content[:8] + json.dumps(header).encode().ljust(length) + content[8 + length :])
    with pytest.raises(UserError, match=rf"not made by python -m trainer propose \(.*{says}"):
        ProposalFile.open(file)


@pytest.mark.parametrize("counts", [[-1, 4], [2, 2], [1, 1], [0, 1 << 62], [4, -1]])
def test_counts_that_are_not_those_of_the_rows_are_refused(tmp_path, counts):
    writer = Writer(tmp_path, "t", ImageNames.of([(1, "a.jpg"), (2, "b.jpg")]), MODEL, "")
    writer.append(0, np.array([1, 2]), np.ones((3, 5), np.float32))
    writer.finish()
    content, good = writer.path.read_bytes(), np.array([1, 2], np.int64).tobytes()
    assert content.count(good) == 1
    writer.path.write_bytes(content.replace(good, np.array(counts, np.int64).tobytes()))
    with pytest.raises(UserError, match="cut short, or not made by python -m trainer propose"):
        ProposalFile.open(writer.path)


def test_a_file_of_another_format_is_named_as_that(folder):
    file = write(folder)
    file.write_bytes(file.read_bytes().replace(b"unidetector-proposals 2", b"unidetector-proposals 1"))
    with pytest.raises(UserError, match=r"format is 'unidetector-proposals 1', expected .* 2'; make it again with"):
        ProposalFile.open(file)


def test_a_file_grows_in_steps_that_a_crash_may_repeat(folder):
    truth = true_boxes(folder)
    images = [(identity, f"images/{identity}.jpg") for identity in truth]
    rows = list(truth.values())
    writer = Writer(folder / "p", "t", ImageNames.of(images), MODEL, "")

    def add(first, end):
        writer.append(first, np.array([len(one) for one in rows[first:end]]), np.concatenate(rows[first:end]))
        writer.finish()

    add(0, 5)
    add(3, 8)
    assert writer.done == 8 and not writer.path.exists()
    with pytest.raises(UserError, match=r"proposals of image 9 for .*, which has 8"):
        add(9, 12)
    add(8, 12)
    assert [path.name for path in (folder / "p").iterdir()] == [writer.path.name]
    file = ProposalFile.open(writer.path)
    np.testing.assert_array_equal(file.rows, np.concatenate(rows))
    assert list(file.images) == images and file.model == MODEL


# Keeps 20 images, 4 at a time, from the first on that has nothing.
KEEPER = """
import sys
from pathlib import Path
import numpy as np
from data_server.files.image_names import ImageNames
from data_server.files.proposal_file import Writer
names = ImageNames.of((n, f"images/{n}.jpg") for n in range(20))
writer = Writer(Path(sys.argv[1]), "t", names, "ab" * 16, "")
while writer.done < 20:
    first = writer.done
    counts = np.arange(first, first + 4) % 3
    writer.append(first, counts, np.full((counts.sum(), 5), first, np.float32))
writer.finish()
"""


def keep(folder, **environment) -> int:
    command = [sys.executable, "-c", KEEPER, str(folder)]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert keep(folder) == 0
    return content(folder)


POINTS = [*(f"proposals.rows:{n}" for n in range(1, 6)), *(f"proposals.counted:{n}" for n in range(1, 6))]


@pytest.mark.parametrize("point", ["proposals.begun:1", *POINTS, "proposals.whole:1"])
def test_the_file_of_a_writer_that_was_killed_is_that_of_one_that_was_not(tmp_path, undisturbed, point):
    assert keep(tmp_path, FAULT=point) == -signal.SIGKILL
    assert content(tmp_path) != undisturbed
    assert keep(tmp_path) == 0
    assert content(tmp_path) == undisturbed


def test_images_whose_rows_a_power_cut_has_taken_are_proposed_for_again(tmp_path, undisturbed):
    assert keep(tmp_path, FAULT="proposals.counted:3") == -signal.SIGKILL
    (growing,) = tmp_path.iterdir()
    os.truncate(growing, growing.stat().st_size - 20 * 3 - 7)
    assert keep(tmp_path) == 0
    assert content(tmp_path) == undisturbed


@pytest.mark.parametrize("begun", [b"", b"\xf8\x3f", bytes(1 << 15)])
def test_a_file_that_was_cut_before_its_first_row_is_begun_again(tmp_path, undisturbed, begun):
    ((name, _),) = undisturbed.items()
    (tmp_path / f"{name}.growing").write_bytes(begun)
    assert keep(tmp_path) == 0
    assert content(tmp_path) == undisturbed


def test_two_writers_of_one_file_do_not_meet(folder):
    images = ImageNames.of([(1, "images/1.jpg"), (2, "images/2.jpg")])
    one, other = (Writer(folder / "p", "t", images, MODEL, "") for _ in range(2))
    one.append(0, np.array([1]), np.zeros((1, 5), np.float32))
    with pytest.raises(UserError, match=r"another process is writing these proposals; wait until it has ended"):
        other.append(0, np.array([1]), np.zeros((1, 5), np.float32))
    assert one.done == 1


def test_the_file_is_a_safetensors_file(folder):
    safetensors = pytest.importorskip("safetensors.numpy")
    file = write(folder)
    arrays = safetensors.load_file(file)
    np.testing.assert_array_equal(arrays["proposals"], ProposalFile.open(file).rows)
    assert arrays["counts"].sum() == len(arrays["proposals"])


def test_a_header_longer_than_its_file_is_refused_before_it_is_read(folder):
    file = write(folder)
    content = file.read_bytes()
    file.write_bytes(struct.pack("<Q", len(content) + 1) + content[8:])
    with pytest.raises(UserError, match=rf"a header of {len(content) + 1} bytes in a file of {len(content)}\)"):
        ProposalFile.open(file)


def test_what_is_said_to_be_there_is_on_the_disk_before_it_is_said(folder, monkeypatch):
    done = []

    def watch(place, name, word):
        real = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *arguments: (done.append(word), real(*arguments))[1])

    watch(proposal_file, "write_at", "write")
    watch(proposal_file, "settle", "name")
    watch(proposal_file.os, "fsync", "sync")
    writer = Writer(folder / "p", "t", ImageNames.of([(1, "a/1.jpg")]), MODEL, "")
    writer.append(0, np.array([2]), np.ones((2, 5), np.float32))
    begun, appended = ["write"] * 4 + ["sync", "write"], ["write", "sync", "write"]
    assert done == begun + appended
    writer.finish()
    assert done[len(begun + appended) :][:3] == ["write", "sync", "name"]


def test_a_missing_file_is_told_with_the_systems_reason(tmp_path):
    with pytest.raises(UserError, match=r"^proposal file '.*none\.safetensors': No such file or directory$"):
        ProposalFile.open(tmp_path / "none.safetensors")
