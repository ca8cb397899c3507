"""Whether far workers help is said once, when both kinds of batches have been seen."""

from __future__ import annotations

import pytest

from data_server.serving.costs import BATCHES, Costs


def test_nothing_is_said_before_both_kinds_are_known_nor_ever_again() -> None:
    costs = Costs()
    for kind in (False, True):
        assert not any(costs.add(1000, kind) for _ in range(BATCHES - 1))
    assert costs.add(1000, False) == ""
    assert costs.add(1000, True) != ""
    assert not any(costs.add(1000, kind) for kind in (False, True))


def test_a_stream_without_far_workers_hears_nothing() -> None:
    costs = Costs()
    assert not any(costs.add(1000, False) for _ in range(3 * BATCHES))


@pytest.mark.parametrize(("there", "verdict"), [(2000, "help"), (2001, "hardly help, as making should take 3 times")])
def test_far_workers_help_where_making_takes_three_times_as_long_as_receiving(there: int, verdict: str) -> None:
    costs = Costs()
    for number in range(BATCHES):
        costs.add(90_000 if number == 0 else 6000, False)  # the first has something to import
        line = costs.add(there, True)
    assert line.startswith(
        "a batch takes 6.0 ms of a processor of this host to make, and 2.0 ms to receive from another: "
        f"far workers {verdict}"
    )
