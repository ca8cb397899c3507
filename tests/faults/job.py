"""One of the processes that run cells beside each other: a bench of its own, in a folder of its own."""

from __future__ import annotations

import atexit
import contextlib
import tempfile
from pathlib import Path

from shared.lifetime import die_with_parent
from tests.faults.bench import Bench, Judgement, Record
from tests.faults.cells import Cell, Scenario
from tests.faults.scenarios import lay_out

_bench: Bench


def start(parent: int) -> None:
    """To be called once, before the others."""
    global _bench
    die_with_parent(parent)
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="faults"))
    _bench = stack.enter_context(Bench(Path(folder), lay_out))


def record(scenario: Scenario) -> Record:
    return _bench.record(scenario)


def judge(cell: Cell) -> Judgement:
    return _bench.judge(cell)
