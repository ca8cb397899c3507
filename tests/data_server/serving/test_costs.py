"""Whether far workers help is said when it can be estimated, and again when both kinds of batches have been seen."""

from __future__ import annotations

import pytest

from data_server.serving.costs import BATCHES, Costs
from shared.layout import Layout
from shared.messages import Wrote

LAYOUT = Layout.pack([("image", "uint8", (1024,))])


def add(costs: Costs, microseconds: int, far: bool, times: int = 1) -> list[str]:
    """All that is said over so many batches."""
    wrote = Wrote(0, 0, 1, LAYOUT.wire, 0, [], 0, microseconds)
    return [line for line in (costs.add(wrote, far) for _ in range(times)) if line]


def test_nothing_is_measured_before_both_kinds_are_known_nor_ever_again() -> None:
    costs = Costs()
    for kind in (False, True):
        assert not add(costs, 1000, kind, BATCHES - 1)
    assert not add(costs, 1000, False)
    assert len(add(costs, 1000, True)) == 1
    assert not any(add(costs, 1000, kind) for kind in (False, True))


def test_a_stream_that_will_have_no_far_workers_hears_nothing() -> None:
    assert not add(Costs(), 1000, False, 3 * BATCHES)


@pytest.mark.parametrize(("there", "verdict"), [(2000, "help"), (2001, "hardly help, as making should take 3 times")])
def test_far_workers_help_where_making_takes_three_times_as_long_as_receiving(there: int, verdict: str) -> None:
    costs = Costs()
    add(costs, 90_000, False)  # the first has something to import
    add(costs, 6000, False, BATCHES - 1)
    (line,) = add(costs, there, True, BATCHES)
    assert line.startswith(
        "a batch takes 6.0 ms of a processor of this host to make, and 2.0 ms to receive from another: "
        f"far workers {verdict}"
    )
    assert costs.worth == (verdict == "help")


@pytest.mark.parametrize(("each", "verdict"), [(1.9, "would help"), (2.0, "would hardly help, as making should")])
def test_before_there_are_any_it_is_estimated_by_the_bytes_of_a_batch(each: float, verdict: str) -> None:
    costs = Costs(receiving=each)
    assert costs.worth
    (line,) = add(costs, 6000, False, 3 * BATCHES)
    assert line.startswith(
        f"a batch takes 6.0 ms of a processor of this host to make, and would take about {each:.1f} ms to receive from "
        f"another: far workers {verdict}"
    )
    assert costs.worth == (verdict == "would help")
    assert len(add(costs, 1000, True, BATCHES)) == 1 and costs.worth
