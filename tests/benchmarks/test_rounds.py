from __future__ import annotations

import pytest

from benchmarks.rounds import Contender, interleave, ratio

MODULE = "tests.benchmarks.counting_contender"


@pytest.fixture
def contender():
    with Contender("counting", MODULE, {"seconds_per_image": 0.01}) as contender:
        yield contender


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    value, low, high = ratio([2.0, 30.0, 4.0], [1.0, 10.0, 4.0])
    assert value == 2.0
    assert 1.0 <= low <= value <= high <= 3.0


def test_a_drift_that_hits_both_contenders_alike_leaves_the_ratio_without_spread():
    slowing = [100.0, 50.0, 25.0, 10.0, 5.0]
    assert ratio([2 * speed for speed in slowing], slowing) == (2.0, 2.0, 2.0)


def test_warm_up_images_are_handled_but_not_counted(contender):
    measured = contender.measure(warm_up=30, images=10)
    assert measured.images == 10
    assert measured.seconds == pytest.approx(0.1)  # the contender answers with what it computes, not with a clock


def test_processor_time_includes_child_processes(contender):
    measured = contender.measure(warm_up=0, images=20)
    assert measured.processor_seconds >= 0.15  # its child computes for 0.2 s; clock ticks are 0.01 s


def test_contenders_take_turns_in_alternating_order():
    turns: list[str] = []
    with (
        Contender("A", MODULE, {"seconds_per_image": 0.0}) as first,
        Contender("B", MODULE, {"seconds_per_image": 0.0}) as second,
    ):
        for one in (first, second):
            one.measure = _noting(turns, one)
        results = interleave([first, second], rounds=3, warm_up=0, images=1)
    assert turns == ["A", "B", "B", "A", "A", "B"]
    assert {name: len(measured) for name, measured in results.items()} == {"A": 3, "B": 3}


def test_a_contender_that_dies_ends_the_benchmark_with_its_name_and_code():
    with pytest.raises(SystemExit, match=r"broken: its process ended with code 1"):
        Contender("broken", MODULE, {})


def _noting(turns, contender):
    measure = contender.measure

    def noted(*arguments):
        turns.append(contender.name)
        return measure(*arguments)

    return noted
