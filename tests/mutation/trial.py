"""Whether the tests notice a mutant, and what is kept of it.

    results.jsonl  one `Result` a line; a later line about a mutant replaces an earlier one

The tests of a mutant's module are tried for all mutants first, then the others for those that were not noticed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutation.coverage import Coverage, keys, near, test_files
from tests.mutation.mutant import Mutant, digest
from tests.mutation.project import Answer, Project

KILLED, TIMED_OUT, SURVIVED, NOT_NEAR, INVALID = "killed", "timed out", "survived", "survived its module", "invalid"
SLACK = 5.0  # a mutant may take so many times the processor time of its tests, and a minute
Verdict = tuple[str, str, float]  # the outcome, the test that noticed, seconds on the wall
_COMPILER = re.compile(r":\d+:\d+: error: ")


@dataclass(frozen=True)
class Result:
    mutant: str
    files: str  # the digest of the mutant's source, and where the mutant survived of all tests as well
    outcome: str
    by: str
    seconds: float

    @property
    def is_noticed(self) -> bool:
        return self.outcome in (KILLED, TIMED_OUT)


class Results:
    """Of the project in the folder `tree`; those of other files count as not known."""

    def __init__(self, path: Path, tree: Path) -> None:
        self._path, self._tree = path, tree
        tests = sorted((tree / "tests").rglob("*.py"))
        self._tests = digest(*(file for file in tests if "mutation" not in file.relative_to(tree).parts))
        lines = path.read_text().splitlines() if path.exists() else []
        self._found = {line["mutant"]: Result(**line) for line in map(json.loads, lines)}

    def add(self, mutant: Mutant, outcome: str, by: str, seconds: float) -> Result:
        result = Result(str(mutant), self._files(mutant, outcome), outcome, by, round(seconds, 1))
        self._found[result.mutant] = result
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        return result

    def of(self, mutant: Mutant) -> Result | None:
        found = self._found.get(str(mutant))
        return found if found and found.files == self._files(mutant, found.outcome) else None

    def _files(self, mutant: Mutant, outcome: str) -> str:
        source = digest(self._tree / mutant.path)
        return f"{source} {self._tests}" if outcome in (SURVIVED, NOT_NEAR) else source


class Trials:
    """In `project`, of which one file is changed at a time."""

    def __init__(self, project: Project, coverage: Coverage, budget: float) -> None:
        self._project, self.coverage, self._budget = project, coverage, budget

    def near(self, mutant: Mutant) -> Verdict:
        """With all tests of its module."""
        files = near(mutant, self._project.tree)
        known = [self.coverage.of(name) for name in files]
        first: list[str] = []
        for file in known:
            covering = file.covering(keys(mutant, file.ran, self._project.tree))
            first += [*covering, *(test for test in file.seconds if test not in set(covering))]
        seconds = sum(sum(file.seconds.values()) for file in known)
        return self._try(mutant, files, first, seconds, NOT_NEAR)

    def far(self, mutant: Mutant) -> Verdict:
        """With the other tests that run its function, files in the order of what they take, for `budget` seconds."""
        tree = self._project.tree
        nearest = set(near(mutant, tree))
        files = [self.coverage.of(name) for name in test_files(tree) if name not in nearest]
        wanted = keys(mutant, {key for file in files for key in file.ran}, tree)
        covering = [(file, file.covering(wanted)) for file in files]
        costs = sorted(
            (sum(file.seconds[test] for test in tests), file.name, file, tests) for file, tests in covering if tests
        )
        names, chosen, seconds = [], [], 0.0
        for cost, name, _, tests in costs:
            if seconds + cost <= self._budget:
                seconds += cost
                names.append(name)
                chosen += tests
        return self._try(mutant, names, chosen, seconds, SURVIVED)

    def _try(self, mutant: Mutant, files: list[str], tests: list[str], seconds: float, unnoticed: str) -> Verdict:
        if not tests:
            return unnoticed, "", 0.0
        path = self._project.tree / mutant.path
        source, start = path.read_bytes(), time.monotonic()
        path.write_bytes(mutant.applied_to(source))
        try:
            answer = self._project.run(files, tests, SLACK * seconds + 60)
        finally:
            path.write_bytes(source)
        return *_judge(mutant, answer, unnoticed), time.monotonic() - start


def _judge(mutant: Mutant, answer: Answer, unnoticed: str) -> tuple[str, str]:
    if answer.code is None:
        return TIMED_OUT, ""
    if answer.code in (0, 5):
        return unnoticed, ""
    if not mutant.path.endswith(".py") and _COMPILER.search(answer.output):
        return INVALID, ""
    return KILLED, answer.failed[0] if answer.failed else answer.output.strip().rpartition("\n")[2]


def table(results: dict[Mutant, Result], judged: Container[Mutant]) -> Iterator[str]:
    """The score by package, then the survivors. `judged` to be equivalent are out of the score, unless noticed."""
    yield (
        f"{'package':12} {'mutants':>8} {'killed':>8} {'timed out':>10} {'survived':>9} {'score':>6}"
        f" {'equivalent':>11} {'of all':>7}"
    )
    for package in (*sorted({*map(_package, results)}), "all"):
        found = results.items() if package == "all" else [one for one in results.items() if _package(one[0]) == package]
        tried = {mutant: result for mutant, result in found if result.outcome != INVALID}
        outcomes = [result.outcome for result in tried.values()]
        killed, late = outcomes.count(KILLED), outcomes.count(TIMED_OUT)
        equivalent = sum(not result.is_noticed and mutant in judged for mutant, result in tried.items())
        counted = len(tried) - equivalent
        yield (
            f"{package:12} {len(tried):8} {killed:8} {late:10} {counted - killed - late:9}"
            f" {_share(killed + late, counted)} {equivalent:11} {_share(killed + late, len(tried)):>7}"
        )
    for mutant, result in results.items():
        if result.is_noticed and mutant in judged:
            yield f"not equivalent: {mutant} {result.by}"
        elif not result.is_noticed and result.outcome != INVALID and mutant not in judged:
            yield f"survived: {mutant}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:6.3f}" if whole else f"{'–':>6}"


def _package(mutant: Mutant) -> str:
    return mutant.path.partition("/")[0]
