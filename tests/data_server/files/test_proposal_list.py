"""Lists of proposals as pickles: read without executing anything, written whole."""

import contextlib
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from data_server.files import proposal_list
from shared.errors import UserError


def calls(module: str, name: str) -> bytes:
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + b"(X" + struct.pack("<I", 8) + b"executed" + b"tR."


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "mkdir"), ("builtins", "eval"), ("posix", "system"), ("numpy", "load"), ("pickle", "loads")],
)
def test_a_pickle_that_asks_for_anything_else_is_refused_by_its_name(tmp_path, monkeypatch, module, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pkl").write_bytes(calls(module, name))
    with pytest.raises(UserError, match=rf"its pickle asks for {module}.{name}, .* nothing was executed"):
        proposal_list.read(tmp_path / "evil.pkl")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [{"a": 1}, [1, 2], [np.array(["a"], object)], [np.zeros((2, 3))], [np.zeros((2, 5), np.int64)], [np.zeros(5)]],
    ids=["dict", "numbers", "objects", "columns", "integers", "flat"],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "odd.pkl").write_bytes(pickle.dumps(content, 4))
    with pytest.raises(UserError, match=r"proposal file '.*odd.pkl'"):
        proposal_list.read(tmp_path / "odd.pkl")


def arrays_of(path) -> list[np.ndarray]:
    found = proposal_list.read(path)
    return [found.rows[start : start + count] for start, count in zip(found.starts, found.counts, strict=True)]


@pytest.mark.parametrize("protocol", range(6))
def test_every_kind_of_array_comes_back_as_it_was_whatever_the_protocol(tmp_path, protocol):
    chance = np.random.default_rng(0)
    large, scoreless = chance.random((300, 5)).astype(np.float32), chance.random((7, 4))
    arrays = [
        large,
        np.zeros((0, 5), np.float32),
        scoreless,
        large,
        np.asfortranarray(large[:9]),
        large[:3].astype(">f8"),
    ]
    (tmp_path / "rp.pkl").write_bytes(pickle.dumps(arrays, protocol))
    found = arrays_of(tmp_path / "rp.pkl")
    with_scores = np.column_stack([scoreless, np.ones(7)]).astype(np.float32)
    for one, other in zip(found, [*arrays[:2], with_scores, *arrays[3:]], strict=True):
        np.testing.assert_array_equal(one, other)


def test_who_stands_for_whom_is_in_the_digest(tmp_path):
    one, other = np.ones((2, 5), np.float32), np.zeros((2, 5), np.float32)
    digests = set()
    for number, arrays in enumerate([[one, other, one], [one, other, other], [other, one, one]]):
        (tmp_path / f"{number}.pkl").write_bytes(pickle.dumps(arrays, 2))
        digests.add(proposal_list.read(tmp_path / f"{number}.pkl").digest)
    assert len(digests) == 3


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_no_more_is_held_than_some_images_whatever_the_length_of_the_list(tmp_path, protocol):
    images, rows = 3000, 200
    one = np.ones((rows, 5), np.float32)
    (tmp_path / "rp.pkl").write_bytes(pickle.dumps([one.copy() for _ in range(images)], protocol))
    tracemalloc.start()
    found = proposal_list.read(tmp_path / "rp.pkl")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.rows) == images * rows
    assert peak < 2 * one.nbytes + (1 << 20), f"{peak} bytes of {found.rows.nbytes}"


@pytest.mark.parametrize("second", [np.ones((2, 5), np.float32), np.ones((2, 3), np.float32), "no array"])
def test_nothing_is_kept_open_whether_or_not_it_is_a_list_of_proposals(tmp_path, monkeypatch, second):
    opened = []
    make = proposal_list.tempfile.TemporaryFile
    monkeypatch.setattr(proposal_list.tempfile, "TemporaryFile", lambda: opened.append(make()) or opened[-1])
    (tmp_path / "rp.pkl").write_bytes(pickle.dumps([np.ones((9, 5), np.float32), second], 2))
    with contextlib.suppress(UserError):
        assert proposal_list.read(tmp_path / "rp.pkl").rows.sum() == 55
    assert [file.closed for file in opened] == [True]


@pytest.mark.parametrize("rows", [9, 9000])
def test_a_full_disk_for_temporary_files_is_named(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(proposal_list.tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b"))  # noqa: SIM115
    monkeypatch.setenv("TMPDIR", "/full")
    (tmp_path / "rp.pkl").write_bytes(pickle.dumps([np.ones((rows, 5), np.float32)], 2))
    with pytest.raises(
        UserError, match=r"rp.pkl': its boxes are kept in /full, .*: No space left on device; make room"
    ):
        proposal_list.read(tmp_path / "rp.pkl")


def test_no_place_for_temporary_files_is_no_fault_of_the_pickle(tmp_path, monkeypatch):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(proposal_list.tempfile, "TemporaryFile", nowhere)
    (tmp_path / "rp.pkl").write_bytes(pickle.dumps([np.ones((9, 5), np.float32)], 2))
    with pytest.raises(UserError, match=r"rp.pkl': its boxes are kept in .*: No usable temporary directory .*; make"):
        proposal_list.read(tmp_path / "rp.pkl")


def test_a_list_is_written_whole_and_read_again(tmp_path):
    rows = [np.array([[1, 2, 3, 4, 0.5]], np.float32), np.zeros((0, 5), np.float32)]
    proposal_list.write(tmp_path / "new" / "rp.pkl", rows)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rp.pkl"]
    assert [one.tolist() for one in arrays_of(tmp_path / "new" / "rp.pkl")] == [one.tolist() for one in rows]
    with pytest.raises(ValueError, match="no numbers"):
        proposal_list.write(tmp_path / "new" / "rp.pkl", [*rows, "no numbers"])
    assert len(arrays_of(tmp_path / "new" / "rp.pkl")) == 2 and len(list((tmp_path / "new").iterdir())) == 1
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*folder: Is a directory; .* choose another --out"):
        proposal_list.write(tmp_path / "folder", rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "new"]


def test_a_list_of_empty_arrays_has_no_rows(tmp_path):
    (tmp_path / "rp.pkl").write_bytes(pickle.dumps([np.zeros((0, 5), np.float32)] * 2))
    found = proposal_list.read(tmp_path / "rp.pkl")
    assert found.rows.shape == (0, 5) and found.counts.tolist() == [0, 0]


ROWS = np.ones((2, 5), np.float32)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([ROWS, 7], r"entry 1 is a int; expected an array \(n, 5\)"),
        ([ROWS, ROWS.tolist()], r"entry 1 is a list; expected an array \(n, 5\)"),
        ([ROWS, [ROWS, ROWS]], r"entry 1 is a list of arrays, as of one for each class; expected one array .* join"),
        ([ROWS, ROWS[:, :3], 7], r"entry 1 has shape \(2, 3\); expected \(n, 5\)"),
        ([ROWS.astype(int)], r"it holds an array of 'i8'; expected floats"),
        (np.array([ROWS, ROWS[:1]], object), r"it holds a numpy array of objects; expected a list with an array for"),
        (ROWS, r"it holds a numpy array; expected a list"),
        ({"a": ROWS}, r"it holds a dict; expected a list with an array for each image"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_what_is_no_list_of_arrays_is_told_with_its_place(content, says, protocol, tmp_path):
    (tmp_path / "rp.pkl").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(UserError, match=rf"rp\.pkl': {says}"):
        proposal_list.read(tmp_path / "rp.pkl")


def test_a_missing_list_is_told_with_the_systems_reason(tmp_path):
    with pytest.raises(UserError, match=r"none\.pkl': No such file or directory"):
        proposal_list.read(tmp_path / "none.pkl")


@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_are_known_by_the_module_names_of_every_numpy(tmp_path, protocol):
    rows = np.array([[1, 2, 3, 4, 0.5]], np.float32)
    old = pickle.dumps([rows], protocol).replace(b"numpy._core.", b"numpy.core.").replace(b"\x13numpy", b"\x12numpy")
    new = old.replace(b"numpy.core.", b"numpy._core.").replace(b"\x12numpy", b"\x13numpy")
    assert b"numpy.core." in old and b"numpy._core." in new
    for content in (old, new):
        (tmp_path / "rp.pkl").write_bytes(content)
        assert [one.tolist() for one in arrays_of(tmp_path / "rp.pkl")] == [rows.tolist()]


def test_a_list_is_written_in_the_protocol_that_every_python_3_reads(tmp_path):
    proposal_list.write(tmp_path / "rp.pkl", [np.zeros((1, 5), np.float32)])
    assert (tmp_path / "rp.pkl").read_bytes()[:2] == b"\x80\x02"


def test_a_small_file_that_stands_for_very_many_numbers_is_refused(tmp_path):
    path = tmp_path / "rp.pkl"
    path.write_bytes(pickle.dumps([np.ones((1000, 5), np.float32)] * 1000))
    with pytest.raises(UserError, match=r"its arrays have 5000000 numbers, in \d+ bytes; make the file again"):
        proposal_list.read(path)
