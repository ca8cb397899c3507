"""What was found, kept as it is found: a matrix that was stopped goes on.

    faults.jsonl  one `Result` a line

Results of other sources count as not known. Where a line is taken out, its cell is run again.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster import ROOT
from tests.faults.cells import Cell, Plan, kinds

FILE = ROOT / "faults.jsonl"


@dataclass(frozen=True)
class Result:
    """Of one cell.

    Attributes:
        fired: whether the run came to the call.
        wrong: a line for each thing that should not be.
        seconds: of the processor.
    """

    sources: str
    cell: str
    fired: bool
    wrong: list[str]
    seconds: float


class Results:
    """Those of the project in the state `sources`."""

    def __init__(self, path: Path, sources: str) -> None:
        self._path, self._sources = path, sources
        lines = path.read_text().splitlines() if path.exists() else []
        every = [Result(**line) for line in map(json.loads, lines)]
        self._found = {one.cell: one for one in every if one.sources == sources}

    def add(self, cell: Cell, fired: bool, wrong: list[str], seconds: float) -> None:
        result = Result(self._sources, str(cell), fired, wrong, round(seconds, 1))
        self._found[result.cell] = result
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")

    def of(self, cells: Iterable[Cell]) -> list[Result]:
        """As far as they are known."""
        return [found for cell in cells if (found := self._found.get(str(cell)))]

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        return [cell for cell in cells if str(cell) not in self._found]


def sources() -> str:
    """The commit that is checked out, and a digest of what was changed since."""
    commit, changes = _git("rev-parse", "HEAD").decode().strip(), _git("diff", "HEAD")
    return f"{commit}+{hashlib.sha256(changes).hexdigest()[:8]}" if changes else commit


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def table(plans: list[Plan], results: Results) -> Iterator[str]:
    """By scenario; `missed` are runs that never came to the call, seconds are the processor's."""
    yield (
        f"{'scenario':14} {'cells':>7} {'kinds':>7} {'runs':>7} {'done':>7} {'faulty':>7} {'missed':>7} {'s a run':>8}"
    )
    whole = [cell for plan in plans for cell in plan.cells], [cell for plan in plans for cell in plan.runs]
    for name, cells, runs in (*((one.scenario.name, one.cells, one.runs) for one in plans), ("all", *whole)):
        found = results.of(runs)
        faulty, missed = sum(bool(one.wrong) for one in found), sum(not one.fired for one in found)
        each = f"{sum(one.seconds for one in found) / len(found):8.1f}" if found else f"{'–':>8}"
        yield (
            f"{name:14} {len(cells):7} {len(kinds(cells)):7} {len(runs):7} {len(found):7} {faulty:7} {missed:7} {each}"
        )
