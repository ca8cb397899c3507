"""Arrays of users' files: what numpy writes is read, anything else is one line."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from shared import npy
from shared.errors import UserError


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float16).reshape(2, 3),
        np.zeros((0, 4), np.float32),
        np.array(3, np.int64),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["a", "bc"]),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_an_array_is_read_as_it_was_written(tmp_path: Path, array: np.ndarray, version: tuple[int, int]) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version)
    found = npy.read(tmp_path / "a.npy", "--rows")
    assert found.dtype == array.dtype and found.shape == array.shape and (found == array).all()


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archived() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(2))
    return file.getvalue()


WHOLE = saved(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (WHOLE[:-1], r"its header says float32 \(2, 3\), 24 bytes, and 23 bytes follow"),
        (WHOLE + b"x", r"its header says float32 \(2, 3\), 24 bytes, and 25 bytes follow"),
        (WHOLE.replace(b"(2, 3)", b"(-2,3)"), r"its header says float32 \(-2, 3\)"),
        (WHOLE.replace(b"(2, 3), }   ", b"(-2,-3,1)}  "), r"its header says float32 \(-2, -3, 1\), 24 bytes"),
        (saved(np.array([None])), r"its header says object \(1,\)"),
        (archived(), "expected one array, found an archive of arrays"),
        (pickle.dumps([1]), "ValueError"),
        (b"", "ValueError"),
        (WHOLE[:40], "ValueError"),
    ],
)
def test_a_file_of_something_else_is_one_line_with_what_it_was_given_as(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=rf"^--rows: cannot read '{tmp_path}/a.npy' as a .npy file: .*{says}") as caught:
        npy.read(tmp_path / "a.npy", "--rows")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_with_the_systems_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.npy' as a .npy file: No such file or directory$"):
        npy.read(tmp_path / "none.npy", "--rows")
