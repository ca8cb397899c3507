"""The cells of the matrix, and which of them are run.

    points x faults ──► cells ──► kinds: one call on files of one role, with one fault, in one scenario
                                    └──► of each the first cell, the last, and one between them, drawn by a fixed seed

Cells of a kind are the same code in another state: the k-th line of a log, tensor of a checkpoint, picture of a folder.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import dataclass

from tests.faults.disk import FAULTS, Fault, Point

SEED = 7
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Scenario:
    """A command on tiny inputs.

    Attributes:
        command: what follows ``python -m PROGRAM``, with {ground} for the folder where it works and {server} for the
            address of a running data server.
        again: more of it, where the command is given a second time.
        alone: faults meet the command's own process, not those that it starts, which are commands themselves.
    """

    name: str
    program: str
    command: str
    again: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Cell:
    """A scenario in which one call meets a fault."""

    scenario: Scenario
    point: Point
    fault: Fault

    @property
    def kind(self) -> str:
        """That of the same call on every file whose name differs in numbers only."""
        role = _NUMBER.sub("N", self.point.pattern)
        return f"{self.scenario.name}: {self.fault.name} at {self.point.operation} of {role}"

    def __str__(self) -> str:
        return f"{self.scenario.name}: {self.fault.name} at {self.point}"


@dataclass(frozen=True)
class Plan:
    """What there is of a scenario, and what is run of it."""

    scenario: Scenario
    cells: list[Cell]
    runs: list[Cell]

    @staticmethod
    def of(scenario: Scenario, points: list[Point], every: bool = False, most: int | None = None) -> Plan:
        """
        Args:
            every: run each cell, not three of a kind.
            most: run no more, drawn by a fixed seed.
        """
        cells = [
            Cell(scenario, point, fault) for point in points for fault in FAULTS if point.operation not in fault.spares
        ]
        runs = cells if every else three_of_each_kind(cells)
        if most is not None and most < len(runs):
            runs = [runs[place] for place in sorted(random.Random(SEED).sample(range(len(runs)), most))]
        return Plan(scenario, cells, runs)


def kinds(cells: list[Cell]) -> dict[str, list[Cell]]:
    """The cells by their kind, in their order."""
    found = defaultdict(list)
    for cell in cells:
        found[cell.kind].append(cell)
    return found


def three_of_each_kind(cells: list[Cell]) -> list[Cell]:
    """The first, one between and the last; all of a kind that has no more."""
    chosen = []
    for kind, (first, *others) in kinds(cells).items():
        *between, last = others or [first]
        chosen.append(first)
        if between:  # what is drawn of one kind does not depend on the other kinds
            chosen.append(random.Random(f"{SEED} {kind}").choice(between))
        if others:
            chosen.append(last)
    return chosen
