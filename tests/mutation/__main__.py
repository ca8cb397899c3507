"""``python -m tests.mutation [--count N] [--seed S] [--only PATH] [--list] [--jobs N] [--budget SECONDS]``.

Draws mutants, runs the tests of each, prints the score by package and the survivors. What was found is in `mutants/`:
started again, it goes on where it was stopped. Survivors are tried again when a test has changed, all mutants of a file
when the file has. A survivor that is judged to be equivalent goes into `equivalents.txt`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from multiprocessing.pool import Pool
from pathlib import Path

from shared.lifetime import die_with_parent
from tests.mutation import c_source, equivalents, python_source
from tests.mutation.coverage import Coverage, test_files
from tests.mutation.mutant import PACKAGES, ROOT, Mutant, draw
from tests.mutation.project import Project
from tests.mutation.trial import NOT_NEAR, Results, Trials, Verdict, table

FOLDER = ROOT / "mutants"
READERS = {".py": python_source, ".c": c_source, ".cpp": c_source, ".h": c_source}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="mutants to draw (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default %(default)s)")
    parser.add_argument("--only", default="", metavar="PATH", help="of files whose path begins so")
    parser.add_argument("--list", action="store_true", help="say which, and run nothing")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time (default %(default)s)")
    parser.add_argument(
        "--budget", type=float, default=300, help="seconds of tests outside of a mutant's module (default %(default)s)"
    )
    options = parser.parse_args()
    snapshot = Project.snapshot(ROOT, FOLDER / "snapshot")
    every = list(all_mutants(snapshot.tree))
    judged, outdated = equivalents.find(equivalents.read(), every, snapshot.tree)
    every = [mutant for mutant in every if mutant.path.startswith(options.only)]
    mutants = draw(every, options.count, options.seed)
    if options.list:
        print(*mutants, sep="\n")
        return 0
    results = Results(FOLDER / "results.jsonl", snapshot.tree)
    with multiprocessing.Pool(options.jobs, _start, (FOLDER, options.budget, os.getpid())) as pool:
        _round(pool, _near, [mutant for mutant in mutants if not results.of(mutant)], results)
        unnoticed = [mutant for mutant in mutants if (found := results.of(mutant)) and found.outcome == NOT_NEAR]
        left = [mutant for mutant in unnoticed if mutant not in judged]
        if left:
            print("measuring which tests run which function, once", flush=True)
            pool.map(_measure, test_files(snapshot.tree), chunksize=1)
        _round(pool, _far, left, results)
    print(*table({mutant: results.of(mutant) for mutant in mutants}, judged), sep="\n")
    for one in outdated:
        print(f"outdated in {equivalents.FILE.name}, take it out: {one.path}: {one.line!r}: {one.change}")
    return 0


def _round(
    pool: Pool, work: Callable[[Mutant], tuple[Mutant, Verdict]], mutants: list[Mutant], results: Results
) -> None:
    for place, (mutant, verdict) in enumerate(pool.imap_unordered(work, mutants), 1):
        result = results.add(mutant, *verdict)
        print(f"{place}/{len(mutants)} {result.outcome}, {result.seconds} s: {mutant} {result.by}", flush=True)


# In the processes of the pool, each of which has copies of its own.

_trials: Trials


def _start(folder: Path, budget: float, parent: int) -> None:
    global _trials
    die_with_parent(parent)
    snapshot, own = Project(folder / "snapshot"), folder / multiprocessing.current_process().name
    coverage = Coverage(snapshot.copy(own / "measured"), folder / "coverage")
    _trials = Trials(snapshot.copy(own / "mutated"), coverage, budget)


def _near(mutant: Mutant) -> tuple[Mutant, Verdict]:
    return mutant, _trials.near(mutant)


def _far(mutant: Mutant) -> tuple[Mutant, Verdict]:
    return mutant, _trials.far(mutant)


def _measure(test_file: str) -> None:
    _trials.coverage.of(test_file)


def all_mutants(root: Path) -> Iterator[Mutant]:
    """Every mutant of the three packages."""
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*")):
            if file.suffix in READERS:
                yield from READERS[file.suffix].mutants_of(str(file.relative_to(root)), file.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
