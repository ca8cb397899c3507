"""How many far workers a stream wants, by what its batches tell."""

from __future__ import annotations

import pytest

from data_server.serving.demand import CALM, WINDOW, Demand

HERE, MOST = 2, 12


def window(demand: Demand, waited: int = 0, busy: float = 0, far: int = 0, worth: bool = True) -> str:
    """One window of batches, of which so many were `waited` for."""
    batches = 0
    while True:
        batches += 1
        if demand.delivered(waited=batches <= waited, busy=int(batches * busy) - int((batches - 1) * busy)):
            return demand.judge(far, worth=worth)


def grown(far: int) -> Demand:
    demand = Demand(HERE, MOST)
    demand.wanted = far
    return demand


def test_a_stream_wants_none_before_half_of_a_window_was_waited_for() -> None:
    demand = Demand(HERE, MOST)
    assert window(demand, waited=WINDOW // 2 - 1, busy=HERE) == "" and demand.wanted == 0
    assert window(demand, waited=WINDOW // 2, busy=HERE) == (
        f"{WINDOW // 2} of {WINDOW} batches were waited for; {HERE} far workers are wanted now, not 0"
    )


def test_workers_are_doubled_only_when_those_asked_for_are_there_and_up_to_the_most() -> None:
    demand, wanted = Demand(HERE, MOST), []
    for far in (0, 0, 1, 2, 3, 6, 6, 12):
        window(demand, waited=1000, far=far)
        wanted.append(demand.wanted)
    assert wanted == [2, 2, 2, 6, 6, MOST, MOST, MOST]


def test_what_had_nothing_to_do_for_some_windows_in_a_row_is_given_back() -> None:
    demand = grown(8)
    for _ in range(CALM - 1):
        assert window(demand, busy=HERE + 3, far=8) == ""
    assert window(demand, busy=HERE + 3, far=8) == "3 far workers are wanted now, not 8"


def test_one_window_that_was_waited_for_or_needed_all_puts_off_the_giving_back() -> None:
    for waited, busy in ((4, 1), (0, HERE + 8)):
        demand = grown(8)
        for _ in range(CALM - 1):
            window(demand, busy=1, far=8)
        assert window(demand, waited=waited, busy=busy, far=8) == ""
        for _ in range(CALM - 1):
            assert window(demand, busy=1, far=8) == ""
        assert window(demand, busy=1, far=8) == "0 far workers are wanted now, not 8"


def test_as_many_are_kept_as_the_busiest_of_the_calm_windows_needed() -> None:
    demand = grown(8)
    for busy in (1, HERE + 2.5, 1, 1):
        window(demand, busy=busy, far=8)
    assert demand.wanted == 3


@pytest.mark.parametrize(("busy", "kept"), [(HERE + 1.05, 1), (HERE + 1.2, 2)])
def test_a_batch_or_two_of_a_window_keep_no_worker(busy: float, kept: int) -> None:
    demand = grown(8)
    for _ in range(CALM):
        window(demand, busy=busy, far=8)
    assert demand.wanted == kept


def test_a_window_has_some_batches_of_each_worker() -> None:
    demand = grown(40)
    window(demand, far=40)
    batches = 1
    while not demand.delivered(waited=False, busy=0):
        batches += 1
    assert batches == 2 * (HERE + 40)


def test_none_are_wanted_where_they_do_not_help() -> None:
    demand = grown(8)
    assert window(demand, waited=1000, far=8, worth=False) == "0 far workers are wanted now, not 8"
    assert window(demand, waited=1000, worth=False) == "" and demand.wanted == 0
