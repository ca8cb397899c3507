"""Where things are: few rooms at the top, tests in the same ones, nothing that only its author can find."""

import re

import pytest

from tests.architecture.tree import ROOT, entries


@pytest.mark.parametrize(("package", "most"), [("data_server", 13), ("trainer", 16)])
def test_the_top_of_a_package_can_be_read_at_a_glance(package, most):
    found = entries(ROOT / package)
    assert len(found) <= most, f"{package}/ has {len(found)} entries: {', '.join(path.name for path in found)}"


@pytest.mark.parametrize("package", ["shared", "data_server", "trainer", "benchmarks"])
def test_tests_are_in_the_same_rooms_as_what_they_test(package):
    folders = {path.parent for path in (ROOT / "tests" / package).rglob("test_*.py")}
    assert folders
    strays = [folder for folder in folders if not (ROOT / folder.relative_to(ROOT / "tests")).is_dir()]
    assert not strays


def documented(pattern):
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    return any(re.search(pattern, page.read_text(encoding="utf-8")) for page in pages)


def public_modules(folder):
    """Files, and folders with a module of their own name in them; both are found by being there."""
    return [
        path.stem
        for path in entries(ROOT / folder)
        if (path.suffix == ".py" or path.is_dir()) and path.stem != "__init__"
    ]


@pytest.mark.parametrize("command", public_modules("data_server/commands"))
def test_every_command_of_the_data_server_is_documented(command):
    assert documented(rf"python -m data_server {command.replace('_', '-')}\b")


@pytest.mark.parametrize("task", public_modules("trainer/tasks"))
def test_every_task_of_the_trainer_is_documented(task):
    assert documented(rf"python -m trainer {task}\b")
