"""A few cells of the fault matrix, drawn from all: nothing is damaged, every end is one line, nothing hangs.

``make faults`` runs the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.__main__ import cells
from tests.faults.bench import Bench, Scenario
from tests.faults.disk import spread
from tests.faults.scenarios import ALL, lay_out

# Those that take longer have fewer.
DRAWN = {"train": 2, "replay": 2, "evaluate": 2, "propose": 2, "calibrate": 1, "detect": 1}
USUAL = 4


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("faults"), lay_out) as bench:
        yield bench


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [one for one in ALL if one.name != "recipe"], ids=lambda one: one.name)
def test_a_write_that_fails_or_kills_damages_nothing_and_is_one_line(bench: Bench, scenario: Scenario) -> None:
    for point, fault in cells(spread(bench.points(scenario)), DRAWN.get(scenario.name, USUAL)):
        judgement = bench.judge(scenario, point, fault)
        assert judgement.fired and not judgement.wrong, str(judgement)
