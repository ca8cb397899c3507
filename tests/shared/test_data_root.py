from pathlib import Path

import pytest

from shared.config import load_config
from shared.errors import UserError

TEXT = """
data_root = 'data'
load_from = '{data_root}/weights.pth'
model = dict(heads=[dict(files=[None, '{data_root}/a.npy'])], other='{data}')
"""


def load(tmp_path: Path, text: str, **options: object) -> object:
    path = tmp_path / "config.py"
    path.write_text(text)
    return load_config(str(path), options)


def test_data_root_is_filled_in_wherever_a_text_says_so(tmp_path: Path) -> None:
    config = load(tmp_path, TEXT)
    assert config.load_from == "data/weights.pth"
    assert config.model == {"heads": [{"files": [None, "data/a.npy"]}], "other": "{data}"}


def test_an_overridden_data_root_moves_everything(tmp_path: Path) -> None:
    config = load(tmp_path, TEXT, data_root="/elsewhere")
    assert config.load_from == "/elsewhere/weights.pth"
    assert config.model.heads[0].files[1] == "/elsewhere/a.npy"


def test_the_dumped_config_needs_no_filling_in(tmp_path: Path) -> None:
    config = load(tmp_path, TEXT, data_root="/elsewhere")
    config.dump(str(tmp_path / "dumped.py"))
    assert load_config(str(tmp_path / "dumped.py")).load_from == "/elsewhere/weights.pth"


def test_a_text_that_asks_for_a_data_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'model.heads.0' is '\{data_root\}/a', and there is no 'data_root'; set"):
        load(tmp_path, "model = dict(heads=['{data_root}/a'])")
