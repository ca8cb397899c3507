"""The short form of `make mutate`: a few mutants of a small project, of which it is known what becomes of them."""

from __future__ import annotations

import subprocess

import pytest

from tests.mutation import python_source
from tests.mutation.coverage import Coverage
from tests.mutation.mutant import Mutant
from tests.mutation.project import Project, isolation
from tests.mutation.trial import KILLED, NOT_NEAR, SURVIVED, Result, Results, Trials, table

SUM = """\
import os, signal, sys

def total(numbers):
    result = 0
    for number in numbers:
        if number > 0:
            result += number
    return result

def count_down(left):
    while left:
        left -= 1

if __name__ == "__main__":
    print(total([1, 2]), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
NEAR = """\
from shared.sum import count_down, total

def test_nothing():
    assert total([]) == 0

def test_counting():
    count_down(2)
"""
FAR = """\
import subprocess, sys

def test_of_a_process_that_is_killed():
    command = [sys.executable, "-m", "shared.sum"]
    assert subprocess.run(command, stdout=subprocess.PIPE).stdout == b"3\\n"

def test_that_fails_anyway():
    assert not "noticed"
"""


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    try:
        isolation()
    except OSError as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp("mutation") / "project"
    files = {"shared/__init__.py": "", "shared/sum.py": SUM, "tests/shared/test_sum.py": NEAR, "tests/test_far.py": FAR}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return Project.snapshot(root, root.parent / "copy")


@pytest.fixture(scope="module")
def trials(project: Project) -> Trials:
    folder = project.folder.parent
    coverage = Coverage(project.copy(folder / "measured"), folder / "coverage")
    return Trials(project.copy(folder / "mutated"), coverage, budget=100)


def mutant(change: str) -> Mutant:
    mutants = python_source.mutants_of("shared/sum.py", SUM.encode())
    return next(one for one in mutants if one.change == change)


def test_a_mutant_that_the_tests_of_its_module_notice_is_killed_by_the_one_that_fails(trials):
    assert trials.near(mutant("0 ─► 1"))[:2] == (KILLED, "tests/shared/test_sum.py::test_nothing")


def test_a_mutant_in_a_process_that_is_killed_is_noticed_by_the_test_that_starts_it(trials):
    wrong = mutant("result += number ─► result -= number")
    assert trials.near(wrong)[:2] == (NOT_NEAR, "")
    assert trials.far(wrong)[:2] == (KILLED, "tests/test_far.py::test_of_a_process_that_is_killed")


def test_a_mutant_that_changes_nothing_survives(trials):
    same = mutant("number > 0 ─► number >= 0")
    assert trials.near(same)[0] == NOT_NEAR and trials.far(same)[0] == SURVIVED


def test_a_loop_without_end_is_stopped_after_its_processor_time(project):
    endless = mutant("left -= 1 ─► left += 1")
    copy = project.copy(project.folder.parent / "endless")
    (copy.tree / endless.path).write_bytes(endless.applied_to(SUM.encode()))
    assert copy.run(["tests/shared/test_sum.py"], None, processor_seconds=3).code is None


def test_sources_are_as_before_after_every_trial(project, trials):
    trials.near(mutant("number > 0 ─► number >= 0"))
    assert (project.folder.parent / "mutated" / "tree" / "shared" / "sum.py").read_text() == SUM


def test_what_is_known_of_a_mutant_holds_until_its_source_changes_of_a_survivor_until_a_test_does(project, tmp_path):
    tree = project.copy(tmp_path / "copy").tree
    noticed, unnoticed = mutant("left -= 1 ─► left += 1"), mutant("number > 0 ─► number >= 0")
    results = Results(tmp_path / "results.jsonl", tree)
    results.add(noticed, KILLED, "a test", 1.0)
    results.add(unnoticed, SURVIVED, "", 1.0)
    known = Results(tmp_path / "results.jsonl", tree)
    assert known.of(noticed) == results.of(noticed) and known.of(unnoticed) == results.of(unnoticed) is not None
    (tree / "tests" / "test_far.py").write_text(FAR + "# more")
    known = Results(tmp_path / "results.jsonl", tree)
    assert known.of(noticed) and not known.of(unnoticed)
    (tree / "shared" / "sum.py").write_text(SUM + "# more")
    assert not Results(tmp_path / "results.jsonl", tree).of(noticed)


def test_the_score_is_what_was_noticed_of_the_mutants_that_could_be_tried_and_are_not_equivalent():
    outcomes = {"a.py": "killed", "b.py": "timed out", "c.py": "survived", "d.cpp": "invalid", "e.py": NOT_NEAR}
    found = {f"shared/{name}": outcome for name, outcome in outcomes.items()} | {"trainer/a.py": "killed"}
    results = {
        Mutant(path, 3, 1, 0, 1, "", "", "0 ─► 1"): Result("", "", found[path], "by it" if path[0] == "t" else "", 0.0)
        for path in found
    }
    judged = [mutant for mutant in results if mutant.path in ("shared/e.py", "trainer/a.py")]
    assert [line.split() for line in table(results, judged)] == [
        ["package", "mutants", "killed", "timed", "out", "survived", "score", "equivalent", "of", "all"],
        ["shared", "4", "1", "1", "1", "0.667", "1", "0.500"],
        ["trainer", "1", "1", "0", "0", "1.000", "0", "1.000"],
        ["all", "5", "2", "1", "1", "0.750", "1", "0.600"],
        ["survived:", "shared/c.py:3:1:", "0", "─►", "1"],
        ["not", "equivalent:", "trainer/a.py:3:1:", "0", "─►", "1", "by", "it"],
    ]
