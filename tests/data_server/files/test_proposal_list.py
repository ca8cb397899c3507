"""Lists of proposals as pickles: read without executing anything, written whole."""

import pickle
import struct

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


def test_a_list_is_written_whole_and_read_again(tmp_path):
    rows = [np.array([[1, 2, 3, 4, 0.5]], np.float32), np.zeros((0, 5), np.float32)]
    proposal_list.write(tmp_path / "new" / "rp.pkl", rows)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rp.pkl"]
    assert [one.tolist() for one in proposal_list.read(tmp_path / "new" / "rp.pkl")] == [one.tolist() for one in rows]
    with pytest.raises(ValueError, match="no numbers"):
        proposal_list.write(tmp_path / "new" / "rp.pkl", [*rows, "no numbers"])
    assert len(proposal_list.read(tmp_path / "new" / "rp.pkl")) == 2 and len(list((tmp_path / "new").iterdir())) == 1
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*folder: Is a directory; .* choose another --out"):
        proposal_list.write(tmp_path / "folder", rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "new"]
