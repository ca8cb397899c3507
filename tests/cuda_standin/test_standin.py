"""What full-size training asks of a card: ``make gpu-standin``."""

import json
import subprocess
import sys
from functools import cache

import pytest

from tests.cuda_standin import toolkit
from tests.cuda_standin.steps import HALF, IN_ORDER
from tests.full_size import SIZES

pytestmark = pytest.mark.standin
GIB = 2**30
CONTEXT = 0.5 * GIB  # of CUDA and its libraries
CARDS = (16, 24, 80)
FLAT = 1.02  # after all sizes have been there once


def on_a_card(gib: float, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    toolkit.install()
    command = [sys.executable, "-m", "tests.cuda_standin.process", f"tests.cuda_standin.{module}", *arguments]
    return subprocess.run(command, env=toolkit.environment(gib), capture_output=True, text=True, check=False)


@cache
def run(stage: int, gib: float, steps: int = 3 * len(SIZES), *ways: str) -> subprocess.CompletedProcess[str]:
    return on_a_card(gib, "steps", str(stage), str(steps), *ways)


def lines(stage: int, gib: float, **more: int) -> list[dict]:
    done = run(stage, gib, **more)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def figures(stage: int, gib: float, **more: int) -> list[dict]:
    """Of each step."""
    return [line for line in lines(stage, gib, **more) if "step" in line]


@pytest.mark.parametrize(("stage", "peak"), [(1, 5.5), (2, 9.5)])
@pytest.mark.parametrize("gib", CARDS)
def test_memory_is_flat_once_all_sizes_have_been_there(stage: int, peak: float, gib: int) -> None:
    steps = figures(stage, gib)
    first_round = max(step["bytes"] for step in steps[: len(SIZES)])
    assert max(step["bytes"] for step in steps) <= FLAT * first_round
    assert steps[-1]["peak"] <= peak * GIB


@pytest.mark.parametrize(("stage", "peak"), [(1, 4.5), (2, 7.5)])
def test_half_precision_takes_less_memory_and_leaves_nothing_to_the_cpu(stage: int, peak: float) -> None:
    done = run(stage, 80, len(SIZES) + 1, HALF)
    assert done.returncode == 0, done.stderr[-2000:]
    *steps, last = map(json.loads, done.stdout.splitlines())
    assert steps[-1]["peak"] <= peak * GIB
    assert (steps[-1]["waits"], steps[-1]["blocking_uploads"], last["on_the_cpu"]) == (1, 0, [])


@pytest.mark.parametrize("stage", [1, 2])
def test_a_card_of_12_gib_trains_both_stages(stage: int) -> None:
    assert figures(stage, 12)[-1]["peak"] <= 12 * GIB - CONTEXT


def test_what_does_not_fit_is_one_line_that_says_what_to_lower() -> None:
    done = run(2, 8)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "the device's memory is used up in step" in last and "batch_size" in last


@pytest.mark.parametrize("stage", [1, 2])
def test_the_host_waits_once_in_a_step_and_no_copy_blocks_it(stage: int) -> None:
    for step in figures(stage, 80)[len(SIZES) + 1 :]:  # before, there are new sizes to plan transposes for
        # One copy brings the losses of the step before.
        assert (step["waits"], step["downloads"], step["blocking_uploads"]) == (1, 1, 0)


@pytest.mark.parametrize("stage", [1, 2])
def test_cudnn_ranks_its_algorithms_once_for_each_size_and_tries_none(stage: int) -> None:
    steps = figures(stage, 80)
    assert steps[0]["rankings"] > 0
    assert not any(step["rankings"] for step in steps[len(SIZES) :])
    assert not any(step["searches"] for step in steps)


@pytest.mark.parametrize("stage", [1, 2])
def test_an_evaluation_reads_a_batch_once(stage: int) -> None:
    *_, last = (line["evaluation"] for line in lines(stage, 80) if "evaluation" in line)
    assert (last["waits"], last["downloads"], last["blocking_uploads"]) == (1, 1, 0)


@pytest.mark.parametrize("stage", [1, 2])
def test_no_operator_computes_on_the_cpu(stage: int) -> None:
    assert lines(stage, 80)[-1]["on_the_cpu"] == []


@pytest.mark.parametrize("stage", [1, 2])
def test_a_step_adds_no_floats_in_any_order_where_two_runs_have_to_be_equal(stage: int) -> None:
    done = run(stage, 80, len(SIZES), IN_ORDER)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"on_the_cpu": [], "in_any_order": []}
    assert lines(stage, 80)[-1]["in_any_order"]  # it sees what there would be


def test_what_would_add_in_any_order_ends_a_run_whose_sums_have_one() -> None:
    done = on_a_card(16, "in_any_order")
    assert "numbers (4,)" in done.stdout and done.returncode != 0
    assert "randomness.deterministic: the GPU would add up in any order in" in done.stderr
