"""A few cells of the fault matrix, drawn from those that ``make faults`` runs: nothing is damaged, every end is one
line, nothing hangs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.bench import Bench
from tests.faults.cells import Plan, Scenario
from tests.faults.scenarios import ALL, lay_out

# Those that take longer have fewer.
DRAWN = {"train": 1, "replay": 1, "evaluate": 1, "propose": 1, "calibrate": 1, "detect": 1, "browse": 1}
USUAL = 2


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("faults"), lay_out) as bench:
        yield bench


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [one for one in ALL if one.name != "recipe"], ids=lambda one: one.name)
def test_a_write_that_fails_or_kills_damages_nothing_and_is_one_line(bench: Bench, scenario: Scenario) -> None:
    points = bench.record(scenario).points
    for cell in Plan.of(scenario, points, most=DRAWN.get(scenario.name, USUAL)).runs:
        judgement = bench.judge(cell)
        assert judgement.fired and not judgement.wrong, str(judgement)
