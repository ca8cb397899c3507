"""Which tests run which function, and how long they take; measured when first asked for and kept in files.

    coverage/<test file>.json  {"digest": of the test file, "seconds": {test: s}, "passed": [tests],
                                "ran": {"path:function": [tests, "" for the whole file]}}

A test file is run in a process of its own, in a copy whose functions call `mutation_probe.ran` first. What runs in
another process, or in a fixture of wider scope than a test, belongs to the whole file.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutant import PACKAGES, Mutant, digest
from tests.mutation.project import Project
from tests.mutation.python_source import functions_of

MOST_SECONDS = 3600.0  # on the processors, for one test file
NOT_FOR_MUTANTS = ("tests/docker", "tests/mutation", "tests/architecture", "tests/data_server/test_apart.py")


@dataclass(frozen=True)
class TestFile:
    name: str
    seconds: dict[str, float]  # of every test that passes, the quickest first
    ran: dict[str, set[str]]

    def covering(self, keys: Iterable[str]) -> list[str]:
        """The tests that run one of the functions, the quickest first."""
        found = set().union(*(self.ran.get(key, set()) for key in keys))
        return list(self.seconds) if "" in found else [test for test in self.seconds if test in found]


class Coverage:
    """Of the project's tests, as they are in `project`, which gets probes into its sources."""

    def __init__(self, project: Project, folder: Path) -> None:
        self._project, self._folder = project, folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, TestFile] = {}
        for package in PACKAGES:
            for source in (project.tree / package).rglob("*.py"):
                source.write_bytes(with_probes(str(source.relative_to(project.tree)), source.read_bytes()))

    def of(self, name: str) -> TestFile:
        if name not in self._known:
            kept = self._folder / f"{name.replace('/', '.')}.json"
            now = digest(self._project.tree / name)
            found = json.loads(kept.read_text()) if kept.exists() else {}
            if found.get("digest") != now:
                found = {"digest": now, **self._measure(name)}
                kept.write_text(json.dumps(found))
            order = sorted(found["passed"], key=found["seconds"].__getitem__)
            seconds = {test: found["seconds"][test] for test in order}
            self._known[name] = TestFile(name, seconds, {key: set(tests) for key, tests in found["ran"].items()})
        return self._known[name]

    def _measure(self, name: str) -> dict[str, object]:
        answer = self._project.run([name], None, MOST_SECONDS, stop=False)
        seconds: dict[str, float] = {}
        ran: dict[str, set[str]] = {}
        bad = set()
        for event in answer.events:
            if len(event) == 2:
                ran.setdefault(event[1], set()).add(event[0])
                continue
            seconds[event[0]] = seconds.get(event[0], 0.0) + event[1]
            if event[2] != "passed":
                bad.add(event[0])
        return {
            "seconds": seconds,
            "passed": [test for test in seconds if test not in bad],
            "ran": {key: sorted(tests) for key, tests in ran.items()},
        }


def with_probes(path: str, source: bytes) -> bytes:
    """The file with a call of `mutation_probe.ran` in every function, and one when it is imported."""
    statements = [statement for statement in ast.parse(source).body if not _must_be_first(statement)]
    if not statements:
        return source
    lines = source.splitlines(keepends=True)
    places = [(statements[0], f'from mutation_probe import ran as _ran; _ran("{path}:")')]
    places += [(statement, f'_ran("{path}:{name}")') for name, statement in functions_of(source)]
    for statement, call in sorted(places, key=lambda place: -_first_line(place[0])):
        number = _first_line(statement) - 1
        before = lines[number][: statement.col_offset]
        if before.strip():
            lines[number] = before + call.encode() + b"; " + lines[number][statement.col_offset :]
        else:
            lines.insert(number, before + call.encode() + b"\n")
    return b"".join(lines)


def _must_be_first(statement: ast.stmt) -> bool:
    """A docstring, or ``from __future__``."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _first_line(statement: ast.stmt) -> int:
    return min([statement.lineno, *(decorator.lineno for decorator in getattr(statement, "decorator_list", []))])


def test_files(tree: Path) -> list[str]:
    """All that can be run, by name; ``apart_*.py`` by themselves, as the test of them does."""
    paths = [path for pattern in ("test_*.py", "apart_*.py") for path in (tree / "tests").rglob(pattern)]
    names = sorted(str(path.relative_to(tree)) for path in paths)
    return [name for name in names if not name.startswith(NOT_FOR_MUTANTS)]


# Which tests a mutant needs -------------------------------------------------------------------------------------------


def near(mutant: Mutant, tree: Path) -> list[str]:
    """The test files of the mutant's module: those in the same place; without one, those that import the module."""
    path = Path(mutant.path)
    stem = {"__init__": path.parent.name, "__main__": "main"}.get(path.stem, path.stem)
    folder = path.parent.parent if path.stem == "__init__" else path.parent
    mirrors = [Path("tests") / folder / f"{kind}_{stem}.py" for kind in ("test", "apart")]
    if found := [str(mirror) for mirror in mirrors if (tree / mirror).exists()]:
        return found
    module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    return [name for name in test_files(tree) if _imports(tree / name, module)]


def _imports(file: Path, module: str) -> bool:
    package, _, name = module.rpartition(".")
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import) and any(alias.name == module for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom):
            imported = {alias.name for alias in node.names}
            if node.module == module or (node.module == package and name in imported):
                return True
    return False


def keys(mutant: Mutant, ran: Iterable[str], tree: Path) -> list[str]:
    """The functions whose tests are the mutant's: its own; all of its module for a line outside of functions, and where
    it has none, its import; for C++ those of the module that compiles it, which has the same name or a shorter one."""
    if mutant.function:
        return [f"{mutant.path}:{mutant.function}"]
    path = Path(mutant.path)
    beside = [path] if path.suffix == ".py" else (tree / path.parent).glob("*.py")
    prefixes = tuple(f"{path.with_name(file.name)}:" for file in beside if path.stem.startswith(file.stem))
    found = [key for key in ran if key.startswith(prefixes)]
    return [key for key in found if not key.endswith(":")] or found
