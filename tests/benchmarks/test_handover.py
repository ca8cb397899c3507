"""The short form of the hand-over benchmark: small payloads, few batches, real processes; no figure is judged."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.handover import (
    COPY,
    ICEORYX,
    OURS,
    OURS_CHECKED,
    PACED,
    PICKLED,
    QUEUE,
    ROUND_TRIP,
    SATURATED,
    SPDL,
    TORCH,
    TORCH_SHARED,
    Visit,
    measure,
    report,
    verdicts,
)
from benchmarks.transports.data_server import payload_bytes

REPOSITORY = Path(__file__).parents[2]
SIZES = [payload_bytes(size) for size in (0.25, 0.5)]


def made_up(seconds_by_name):
    """Visits in which a batch of `size` bytes takes seconds + 1e-9 x size (memcpy ten times that) in every round."""
    visits = defaultdict(lambda: defaultdict(dict))
    for name, seconds in seconds_by_name.items():
        for pace in (PACED, SATURATED):
            for size in SIZES:
                latency = seconds + size * (1e-8 if name == COPY else 1e-9)
                visits[name][pace][size] = [Visit([latency] * 3, 1.0, 6e-3)] * 2
    return visits


@pytest.mark.slow
def test_the_benchmark_measures_every_transport_and_pace_and_writes_json(tmp_path):
    result = tmp_path / "handover.json"
    command = [sys.executable, "-m", "benchmarks.handover", "--sizes", "0.25", "0.5", "--rounds", "2", "--batches", "3"]
    chosen = [OURS, OURS_CHECKED, COPY, ROUND_TRIP, QUEUE, PICKLED, TORCH, TORCH_SHARED]
    command += ["--transports", *chosen, "--output", result]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text())
    assert list(found["summary"]) == chosen and not found["absent"]
    for by_pace in found["summary"].values():
        for pace in (PACED, SATURATED):
            assert list(by_pace[pace]) == [str(size) for size in SIZES]
            assert all(row["batches"] >= 2 and row["p99"] >= row["p50"] > 0 for row in by_pace[pace].values())
    assert len(found["verdicts"]) == 12
    assert "reached" in done.stdout or "missed" in done.stdout


@pytest.mark.parametrize("name", [SPDL, ICEORYX])
def test_an_optional_rival_is_measured_or_said_to_be_absent(name):
    visits, absent = measure([name], SIZES, rounds=1, batches=3)
    assert name in visits or "is not installed" in absent[name]
    assert (name in absent) == (name in report(visits, SIZES, [], absent).split("left out")[0].splitlines()[-1])


@pytest.mark.slow
def test_a_rival_whose_process_dies_is_left_out_and_the_others_are_measured(monkeypatch):
    monkeypatch.setitem(sys.modules["benchmarks.handover"].TRANSPORTS, QUEUE, ("queues", {"library": "torch"}))
    visits, absent = measure([QUEUE, COPY], SIZES, rounds=1, batches=3)
    assert list(visits) == [COPY]
    assert "its process ended with code 1" in absent[QUEUE]


def test_targets_are_judged_by_medians_of_the_rounds_own_ratios():
    visits = made_up({OURS: 1e-3, COPY: 0.0, ROUND_TRIP: 1e-3, TORCH: 0.1})
    found = {verdict.what: verdict for verdict in verdicts(visits, SIZES[0])}
    for pace in (PACED, SATURATED):
        trips = found[f"{pace}: p50, ours : bare round trip"]
        assert trips.value == (1.0, 1.0, 1.0) and trips.reached
        slope = found[f"{pace}: p50 over size, ours : memcpy's"]
        assert slope.value[0] == pytest.approx(0.1) and not slope.reached
        assert found[f"{pace}: p50, torch queue : ours"].value[0] == pytest.approx(100, rel=0.3)
        spent = found[f"{pace}: CPU ms per batch"]
        assert spent.value[0] == 2.0 and not spent.reached
