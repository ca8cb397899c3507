"""What a recipe remembers: written as a whole, readable, and refused where it is something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import UserError
from trainer.recipe.state import DONE, RUNNING, Entry, State


def test_entries_come_back_as_they_were_put(tmp_path: Path) -> None:
    state = State(tmp_path, "r.py")
    state.put("one", Entry(DONE, "abc", "python -m trainer", 1.5, {"epoch_1.safetensors": "def"}))
    state.put("two", Entry(RUNNING, "xyz", "python -m trainer"))
    again = State(tmp_path, "r.py")
    assert again.entries == state.entries and list(again.entries) == ["one", "two"]
    assert json.loads((tmp_path / "state.json").read_text())["recipe"] == "r.py"
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"steps": {"one": {"state": "done"}}}', '{"steps": {"one": 1}}'])
def test_something_else_is_refused_by_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(UserError, match=r"state\.json is not the state of a recipe"):
        State(tmp_path, "r.py")
