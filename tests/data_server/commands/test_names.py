"""``names``: what rows are called goes beside them, only when there is a name for each."""

from pathlib import Path

import numpy as np
import pytest

from data_server.__main__ import main
from data_server.commands.names import name_rows
from shared.embeddings import names_file, read_names
from shared.errors import UserError

CLASSES = ["cup", "table lamp", "shoe"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Three rows without names."""
    np.save(tmp_path / "3.npy", np.zeros((3, 8), np.float16))
    return tmp_path / "3.npy"


def test_names_are_written_beside_their_rows_only_when_there_is_one_for_each(rows: Path) -> None:
    assert name_rows(rows, CLASSES) == names_file(rows) == rows.with_name("3.names.json")
    assert read_names(rows) == CLASSES
    with pytest.raises(UserError, match=r"3\.npy has 3 rows, there are 2 names; one for each row is expected"):
        name_rows(rows, CLASSES[:2])
    assert read_names(rows) == CLASSES


def test_the_command_takes_a_text_file_or_an_annotation_file(rows: Path, capsys: pytest.CaptureFixture) -> None:
    (rows.parent / "names.txt").write_text("\n".join(CLASSES))
    (rows.parent / "a.json").write_text('{"categories": [{"id": 2, "name": "b"}, {"id": 1, "name": "a"}]}')
    assert main(["names", "--names-file", str(rows.parent / "names.txt"), "--embeddings", str(rows)]) == 0
    assert capsys.readouterr().out == f"{names_file(rows)}: 3 names\n"
    assert main(["names", "--annotations", str(rows.parent / "a.json"), "--embeddings", str(rows)]) == 2
    assert "has 3 rows, there are 2 names" in capsys.readouterr().err
