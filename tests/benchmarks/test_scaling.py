"""The scaling benchmark in its short form: small batches, few workers, real processes; no figure is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scaling import _figures, compared, summary
from tests.cluster import ROOT

pytest.importorskip("ray", reason="Ray is not installed: pip install 'unidetector-jittor[far]'")

SHORT = ["--workers", "2", "--rounds", "1", "--seconds", "0.5", "--mebibytes", "0.5", "--numbers", "10000"]


@pytest.mark.long
def test_the_benchmark_measures_workers_here_and_far_a_delay_and_a_sum(tmp_path: Path) -> None:
    result = tmp_path / "scaling.json"
    command = [sys.executable, "-m", "benchmarks.scaling", *SHORT, "--delays", "20", "--output", str(result)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text())
    for name in ("steady 2", "growing 2", "delayed 20"):
        here, far = found[name]["here"], found[name]["far"]
        assert here["server"] > 0 and far["server"] > 0 and far["receiving"] > 0
        assert "transport" not in here and "receiving" not in here
    # Every byte of a far batch is held back.
    assert found["delayed 20"]["far"]["transport"] >= 20
    assert found["bare"]["bare"]["receiving"] > 0
    assert found["sum 2"]["sum"] > 0 and "sum : copy" in done.stdout


def test_what_far_batches_take_is_theirs_alone() -> None:
    answer = {"latencies": [0.1, 0.2], "seconds": 1.0, "server": 0.0, "transport": [0, 0.03], "receiving": [0.005]}
    found = _figures(answer)
    assert (found["transport"], found["receiving"]) == (30.0, 5.0)
    assert "transport" not in _figures(answer | {"transport": [0, 0], "receiving": []})


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    rounds = {"far": [{"p50": 2.0}, {"p50": 30.0}, {"p50": 3.0}], "here": [{"p50": 1.0}, {"p50": 10.0}, {"p50": 1.0}]}
    assert compared(rounds, "far", "here", "p50") == (3.0, 2.0, 3.0)
    assert summary(rounds) == {"far": {"p50": 3.0}, "here": {"p50": 1.0}}
