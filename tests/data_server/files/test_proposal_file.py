"""The file that proposals are kept in: how it grows, and what is no such file."""

import shutil
import struct

import numpy as np
import pytest

from data_server.files.proposal_file import ProposalFile, Writer
from shared.errors import UserError
from tests.data_server.proposals import MODEL, true_boxes, write


@pytest.fixture
def folder(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "set")
    return tmp_path / "set"


@pytest.mark.parametrize("damage", ["short", "header", "format", "text", "model"])
def test_a_damaged_file_is_refused(folder, damage):
    file = write(folder)
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    file.write_bytes(
        {
            "short": content[:-8],
            "header": struct.pack("<Q", 1 << 60) + content[8:],
            "format": content.replace(b"unidetector-proposals 1", b"unidetector-proposals 9"),
            "text": b"x" * 20,
            "model": content.replace(MODEL.encode(), b"../" + MODEL[3:].encode()),
        }[damage]
    )
    assert length < len(content)
    with pytest.raises(UserError, match="cut short, or not made by python -m trainer propose"):
        ProposalFile.open(file)


def test_a_file_grows_in_steps_that_a_crash_may_repeat(folder):
    truth = true_boxes(folder)
    images = [(identity, f"images/{identity}.jpg") for identity in truth]
    rows = list(truth.values())
    writer = Writer(folder / "p", "t", images, MODEL, "")

    def add(first, end):
        writer = Writer(folder / "p", "t", images, MODEL, "")
        writer.append(first, np.array([len(one) for one in rows[first:end]]), np.concatenate(rows[first:end]))

    add(0, 5)
    add(3, 8)
    assert writer.done == 8 and not writer.path.exists()
    with pytest.raises(UserError, match=r"proposals of image 9 for .*, which has 8"):
        add(9, 12)
    add(8, 12)
    assert [path.name for path in (folder / "p").iterdir()] == [writer.path.name]
    file = ProposalFile.open(writer.path)
    np.testing.assert_array_equal(file.rows, np.concatenate(rows))
    assert file.images == images and file.model == MODEL


def test_the_file_is_a_safetensors_file(folder):
    safetensors = pytest.importorskip("safetensors.numpy")
    file = write(folder)
    arrays = safetensors.load_file(file)
    np.testing.assert_array_equal(arrays["proposals"], ProposalFile.open(file).rows)
    assert arrays["counts"].sum() == len(arrays["proposals"])
