"""Columns in a folder: what was written is read, and nothing else is."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import xxhash

from data_server.files.index import columns
from data_server.files.index.columns import Columns, Damaged, Growing, narrowed, texts_written, write, write_header
from shared import contents

WORDS = ["cup", "", "größe", "x" * 100]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Numbers, boxes, an empty column and texts."""
    growing = Growing(tmp_path, "boxes", np.float32, (4,))
    growing.append(np.ones((2, 4)))
    growing.append(np.zeros((0, 4)))
    growing.append(np.full((1, 4), 2))
    entries = dict(
        [
            ("boxes", growing.finish()),
            write(tmp_path, "ids", np.array([5, 7, 1 << 40])),
            write(tmp_path, "none", np.zeros((0, 2), np.int32)),
            write(tmp_path, "names.bytes", np.frombuffer("".join(WORDS).encode(), np.uint8)),
            texts_written(tmp_path, "names", [np.array([3, 0]), np.array([7, 100])]),
        ]
    )
    write_header(tmp_path, {"images": 3}, entries)
    return tmp_path


def test_what_was_written_is_read_and_cannot_be_changed(folder: Path) -> None:
    found = Columns(folder)
    assert found.facts == {"images": 3}
    assert sorted(found) == ["boxes", "ids", "names.bytes", "names.ends", "none"]
    assert "ids" in found and "id" not in found
    assert found["ids"].tolist() == [5, 7, 1 << 40] and found["none"].shape == (0, 2)
    assert found["boxes"].tolist() == [[1] * 4, [1] * 4, [2] * 4] and found["boxes"].dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        found["ids"][0] = 1


def test_texts_are_found_by_row_and_slice_and_never_copied(folder: Path) -> None:
    texts = Columns(folder).texts("names")
    assert list(texts) == WORDS and len(texts) == 4 and texts[2] == "größe"
    assert texts[1:] == WORDS[1:] and texts[::2] == WORDS[::2] and texts[5:] == []
    assert copy.deepcopy(texts) is texts


def test_a_column_can_be_read_while_it_grows_and_taken_back(tmp_path: Path) -> None:
    growing = Growing(tmp_path, "ids", np.int64)
    for count in (0, 1, 2):
        assert growing.mapped().tolist() == list(range(count))
        growing.append(np.array([count]))
    growing.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([], np.int32),
        ([-(1 << 31), (1 << 31) - 1], np.int32),
        ([1 << 31], np.int64),
        ([-(1 << 31) - 1], np.int64),
    ],
)
def test_integers_take_the_smaller_type_that_holds_them(numbers: list[int], dtype: type) -> None:
    found = narrowed(np.array(numbers, np.int64))
    assert found.dtype == dtype and found.tolist() == numbers


def flipped(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["boxes", "ids", "names.bytes", "names.ends"])
def test_a_bit_that_is_another_is_noticed_in_every_column(folder: Path, name: str, monkeypatch) -> None:
    monkeypatch.setattr(columns, "_STEP", 8)
    Columns(folder)
    flipped(folder / f"{name}.npy", -1)
    with pytest.raises(Damaged, match=rf"{folder}: column '{name}' is damaged"):
        Columns(folder)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found in files is kept at once, however new they are, in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "FRESH_NS", -1)


@pytest.mark.usefixtures("kept")
def test_bytes_are_hashed_once_and_again_where_a_column_was_written_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Columns(folder)
    with monkeypatch.context() as patch:
        patch.setattr(columns, "_STEP", None)  # so that no byte can be hashed
        assert Columns(folder)["ids"].tolist() == [5, 7, 1 << 40]
    before = (folder / "ids.npy").stat()
    flipped(folder / "ids.npy", -1)
    os.utime(folder / "ids.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(Damaged, match="column 'ids' is damaged"):
        Columns(folder)


@pytest.mark.usefixtures("kept")
def test_columns_that_were_whole_under_another_header_are_hashed_again(folder: Path) -> None:
    Columns(folder)
    text = json.loads((folder / "header.json").read_text())[1]
    other = json.loads(text)
    other["columns"]["ids"][2] = "0" * 16
    text = json.dumps(other)
    (folder / "header.json").write_text(json.dumps([xxhash.xxh3_64(text.encode()).hexdigest(), text]))
    with pytest.raises(Damaged, match="column 'ids' is damaged"):
        Columns(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "column 'ids': .* bytes of .*, expected"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "column 'ids': .* bytes of .*, expected"),
        (lambda path: np.save(path, np.array([5, 7, 1 << 40], np.uint64)), "column 'ids': .*, expected"),
        (lambda path: np.save(path, np.array([[5, 7, 1 << 40]])), "column 'ids': .*, expected"),
        (lambda path: flipped(path, 6), "column 'ids': another version of numpy's format"),
        (lambda path: path.unlink(), "column 'ids': .*No such file"),
        (lambda path: flipped(path.with_name("header.json"), 30), "its header is damaged"),
        (lambda path: path.with_name("header.json").write_text("[1, 2]"), "AttributeError|object has no attribute"),
        (lambda path: path.with_name("header.json").write_text("{}"), "not enough values"),
    ],
)
def test_a_folder_that_is_not_as_it_was_is_damaged(folder: Path, change, says: str) -> None:
    change(folder / "ids.npy")
    with pytest.raises(Damaged, match=says):
        Columns(folder)


def test_another_format_is_named(folder: Path) -> None:
    text = json.dumps({"format": "unidetector index 0", "facts": {}, "columns": {}})
    (folder / "header.json").write_text(json.dumps([xxhash.xxh3_64(text.encode()).hexdigest(), text]))
    with pytest.raises(Damaged, match="its format is 'unidetector index 0', expected 'unidetector index 1'"):
        Columns(folder)


def test_no_folder_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Columns(tmp_path / "none")
