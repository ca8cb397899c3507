"""Modules are found by being there, and say what they are without being imported."""

import sys

import pytest

from shared import modules


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "toolbox_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "saw.py").write_text('"""Saws wood\nin `two`, e.g. 2.5 cm: fast. And more."""\nraise SystemExit\n')
    (folder / "bare.py").write_text("x = 1\n")
    (folder / "notes.txt").write_text("no module")
    monkeypatch.syspath_prepend(str(tmp_path))
    import toolbox_of_a_test

    yield toolbox_of_a_test
    for name in [name for name in sys.modules if name.startswith("toolbox_of_a_test")]:
        del sys.modules[name]


def test_every_module_is_listed_and_summed_up_in_its_first_sentence(package):
    assert modules.names(package) == ["bare", "saw"]
    assert modules.summary(package, "saw") == "Saws wood in `two`, e.g. 2.5 cm"
    assert modules.summary(package, "bare") == ""


def test_a_module_in_another_folder_of_the_package_counts_too(package, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "axe.py").write_text('"""Fells trees."""\n')
    package.__path__.append(str(tmp_path / "elsewhere"))
    assert modules.names(package) == ["axe", "bare", "saw"]
    assert modules.summary(package, "axe") == "Fells trees"
