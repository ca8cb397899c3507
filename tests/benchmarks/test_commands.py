"""The benchmark of commands over a file of some hundred images."""

from __future__ import annotations

import pytest

from benchmarks import commands


@pytest.mark.slow
def test_all_commands_run_and_write_what_they_are_for(tmp_path):
    found = commands.measure(tmp_path, share=2e-4)
    assert list(found) == ["category-info, first", "category-info", "subset", "check"]
    assert all(figures["cpu"] > 0 and figures["peak"] > 10 for figures in found.values())
    assert (tmp_path / "objects365.1@3.5.json").exists() and (tmp_path / "objects365_cat_info.json").exists()
    with pytest.raises(SystemExit, match=r"category-info .* ended with code 2"):
        commands.measured(["category-info", "--annotations", str(tmp_path / "none.json")], tmp_path)
