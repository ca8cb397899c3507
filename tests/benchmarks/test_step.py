"""The short form of the step benchmark: some parts of one small case, real frameworks on all sides; no figure is
judged."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.step import KERNEL_TARGET, OURS, THEIRS, check_losses

REPOSITORY = Path(__file__).parents[2]
PARTS = {"backbone", "assignment", "step"}
NEEDS_OPERATORS = {"step"}


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("mmdet") is None, reason="the other side needs MMDetection")
@pytest.mark.slow
def test_the_step_benchmark_compares_the_parts_it_is_asked_for_and_writes_json(tmp_path):
    result = tmp_path / "step.json"
    asked = ("--cases", "small stage 1", "--parts", *PARTS, "--rounds", "3", "--output", str(result))
    printed = run("benchmarks.step", *asked)
    found = json.loads(result.read_text())["cases"]["small stage 1"]
    assert set(found["ratios"]) == {THEIRS}
    assert set(found["ratios"][THEIRS]) | set(found["left_out"]) == PARTS
    assert set(found["left_out"]) in (set(), NEEDS_OPERATORS)
    for compared in found["ratios"][THEIRS].values():
        assert all(0 < low <= value <= high for value, low, high in compared.values())
    assert found["seconds"][THEIRS]["backbone"] > 0
    assert found["memory"] == {OURS: 0, THEIRS: 0}  # of a GPU
    assert "dominates" in printed and ("left out" in printed) == bool(found["left_out"])


def test_sides_that_do_not_compute_the_same_end_the_benchmark():
    check_losses({"Jittor": {"loss": 1.0}, "PyTorch": {"loss": 1.0005}}, 1e-3)
    for wrong in (1.1, float("nan")):
        with pytest.raises(SystemExit, match=rf"loss is 1\.0 in Jittor, {wrong} in PyTorch"):
            check_losses({"Jittor": {"loss": 1.0}, "PyTorch": {"loss": wrong}}, 1e-3)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--precision", "float16"), "--precision float16: on a CPU our side computes in float32"),
        (("--rounds", "2"), "--rounds: expected 3 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: tuple[str, ...], line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.step", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and line in done.stderr


@pytest.mark.slow
def test_a_demo_step_needs_few_kernels():
    found = json.loads(run("benchmarks.networks.cold_start").splitlines()[-1])
    assert 0 < found["kernels"] <= KERNEL_TARGET
    assert found["phases"][-1]["kernels"] <= KERNEL_TARGET + 15  # with those of an inference
