"""Mutants that no test should have to notice: judged by hand, one by one, in `equivalents.txt`.

    # a comment                         blocks of four lines, with an empty line between them
    shared/arena.py                     the file
    self._free = [0] * count            the mutant's line, without its indentation
    0 ─► 1                              the change, as survivors are printed
    Every number is written first.      why no run can tell, or why nothing depends on it

A block holds for every such change in every such line of the file, wherever it is. These mutants are tried with the
tests of their modules alone, and the score is of the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.mutation.mutant import Mutant

FILE = Path(__file__).with_suffix(".txt")


class Equivalent(NamedTuple):
    path: str
    line: str
    change: str
    reason: str


def read(file: Path = FILE) -> list[Equivalent]:
    """
    Raises:
        ValueError: a block has not four lines.
    """
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    blocks = [block.split("\n") for block in "\n".join(lines).strip("\n").split("\n\n") if block]
    for block in blocks:
        if len(block) != len(Equivalent._fields):
            raise ValueError(f"{file}: {block}; expected file, line, change, reason")
    return [Equivalent(*block) for block in blocks]


def find(known: list[Equivalent], mutants: Iterable[Mutant], tree: Path) -> tuple[set[Mutant], list[Equivalent]]:
    """The mutants that `known` is about, and what of it is about none: the source has changed."""
    judged = {one[:3]: one for one in known}
    changes = {(one.path, one.change) for one in known}
    found, outdated = set(), dict(judged)
    for mutant in mutants:
        if (mutant.path, mutant.change) in changes:
            line = (tree / mutant.path).read_text(encoding="utf-8").split("\n")[mutant.line - 1].strip()
            if (key := (mutant.path, line, mutant.change)) in judged:
                found.add(mutant)
                outdated.pop(key, None)
    return found, list(outdated.values())
