"""Text embeddings and the names beside them are written together and read with every fault in one line."""

import numpy as np
import pytest

from shared.embeddings import compared, names_file, read_embeddings, read_names, write_embeddings, write_names
from shared.errors import UserError


def test_rows_and_names_come_back_as_they_were_written(tmp_path):
    rows = np.arange(6, dtype=np.float16).reshape(2, 3)
    write_embeddings(tmp_path / "a.npy", rows, ["cup", "grüne Lampe"])
    read = read_embeddings(tmp_path / "a.npy")
    assert read.dtype == np.float32 and read.tolist() == rows.tolist()
    assert np.load(tmp_path / "a.npy").dtype == np.float16
    assert read_names(tmp_path / "a.npy") == ["cup", "grüne Lampe"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.names.json", "a.npy"]


def test_new_rows_never_stand_beside_the_names_of_old_ones(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    write_embeddings(path, np.zeros((1, 2), np.float32), ["old"])

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("shared.embeddings.write_names", killed)
    with pytest.raises(KeyboardInterrupt):
        write_embeddings(path, np.ones((1, 2), np.float32), ["new"])
    assert read_embeddings(path).tolist() == [[1, 1]] and read_names(path) is None


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros(3, np.float32), r"float32 \(3,\)"),
        (np.zeros((3, 2), np.int64), r"int64 \(3, 2\)"),
        (np.array([[1.0, np.nan]], np.float32), r"float32 \(1, 2\)"),
        (np.array([[1.0, np.inf]], np.float16), r"float16 \(1, 2\)"),
    ],
)
def test_anything_but_finite_rows_of_floats_is_refused(tmp_path, array, found):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(
        UserError, match=rf"head\.zeroshot_path: .*a\.npy should hold one row of finite .* found {found}"
    ):
        read_embeddings(tmp_path / "a.npy", "head.zeroshot_path")


@pytest.mark.parametrize("content", [None, b"", b"no numpy"])
def test_a_file_that_is_not_numpys_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"text embeddings: cannot read .*a\.npy' as a \.npy file"):
        read_embeddings(tmp_path / "a.npy")


@pytest.mark.parametrize("change", [lambda one: one + b"more", lambda one: one.replace(b"(2, 3)", b"(9999999999, 3)")])
def test_a_file_that_is_longer_or_shorter_than_it_says_is_refused_before_it_is_read(tmp_path, monkeypatch, change):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    (tmp_path / "a.npy").write_bytes(change((tmp_path / "a.npy").read_bytes()))
    monkeypatch.setattr(np, "load", pytest.fail)
    with pytest.raises(UserError, match=r"its header says float32 \(\d+, 3\), \d+ bytes, and \d+ bytes follow"):
        read_embeddings(tmp_path / "a.npy")


def test_an_archive_and_pickled_objects_are_refused(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.savez(file, rows=np.zeros((2, 2)))
    with pytest.raises(UserError, match="found an archive of arrays"):
        read_embeddings(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"as a \.npy file"):
        read_embeddings(tmp_path / "a.npy")


def test_an_empty_name_is_told_with_its_row(tmp_path):
    write_names(tmp_path / "a.npy", ["cup", " "])
    assert names_file(tmp_path / "a.npy").exists()
    with pytest.raises(UserError, match=r"the name of row 1 \(counted from 0\) is empty"):
        read_names(tmp_path / "a.npy")


def test_the_first_row_with_something_else_than_numbers_is_told(tmp_path):
    rows = np.ones((4, 3), np.float64)
    rows[2, 1], rows[3, 0] = 1e300, np.nan  # float32 has no room for the first
    np.save(tmp_path / "e.npy", rows)
    with pytest.raises(UserError, match=r"found float64 \(4, 3\) with others in row 2 \(counted from 0\)$"):
        read_embeddings(tmp_path / "e.npy")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[", "expected a JSON list of class names$"),
        (b"\xff\xff", "expected a JSON list of class names$"),
        (b'{"a": 1}', "expected a JSON list of class names, in the order of the rows$"),
        (b'["a", 1]', "expected a JSON list of class names, in the order of the rows$"),
    ],
)
def test_a_file_of_something_else_than_names_is_refused(tmp_path, content, says):
    names_file(tmp_path / "e.npy").write_bytes(content)
    with pytest.raises(UserError, match=rf"^names '{tmp_path}/e\.names\.json': .*{says}"):
        read_names(tmp_path / "e.npy")


def test_names_are_compared_without_regard_to_case_and_blanks():
    assert compared("  Traffic\t LIGHT ") == compared("traffic light") == "traffic light"
    assert compared("STRASSE") == compared("straße")


def test_names_can_be_read_by_people_in_the_file(tmp_path):
    write_names(tmp_path / "e.npy", ["größe", "cup"])
    assert names_file(tmp_path / "e.npy").read_text(encoding="utf-8") == '[\n "größe",\n "cup"\n]\n'


def test_rows_whose_name_leaves_no_room_for_a_file_of_names_have_none(tmp_path):
    assert read_names(tmp_path / f"{'x' * 250}.npy") is None
