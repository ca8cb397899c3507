"""The short form of the soak: few batches, real processes; no figure is judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak import MIB, NURSERY, ROOT, SETTLED_BATCHES, WORKER, Sample, summary

REPOSITORY = Path(__file__).parents[2]
PLAN = "5 slots x 1.0 MiB + data set 1.0 MiB + 1 workers x 2.0 MiB = 8.0 MiB"


def samples(private=(10, 10), descriptors=(5, 5), share=(10, 10)):
    """A stream with one worker, looked at twice; MiB."""
    both = zip((SETTLED_BATCHES, 2 * SETTLED_BATCHES), private, share, descriptors, strict=True)
    worker = [Sample(batches, own * MIB, part * MIB, own * MIB, 0, count) for batches, own, part, count in both]
    still = [Sample(sample.batches, 4 * MIB, 4 * MIB, 6 * MIB, 0, 3) for sample in worker]
    return {ROOT: still, NURSERY: list(still), f"{WORKER} 0": worker}


@pytest.mark.slow
def test_the_soak_looks_at_every_process_and_writes_json(tmp_path):
    result = tmp_path / "soak.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--batches", "40", "--every", "10", "--workers", "2"]
    done = subprocess.run([*command, "--output", result], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text())
    assert list(found["processes"])[:4] == ["consumer", "server", ROOT, NURSERY]
    assert [name.split()[0] for name in list(found["processes"])[4:]] == [WORKER] * 2
    for process in found["processes"].values():
        assert [sample[0] for sample in process["samples"]] == [10, 20, 30, 40]
        assert process["first_mib"] > 0 and process["descriptors"][0] > 0
    assert "of the plan" in done.stdout


def test_growth_and_its_slope_are_those_of_a_processes_own_memory():
    worker = summary(samples(private=(10, 12)), PLAN, 0)["processes"][f"{WORKER} 0"]
    assert worker["growth_mib"] == 2
    assert worker["slope_kib_per_batch"] == pytest.approx(2 * 1024 / SETTLED_BATCHES)


def test_what_came_before_the_stream_has_settled_is_no_growth():
    early = samples()
    for taken in early.values():
        taken.insert(0, Sample(1, 0, 0, 0, 0, 5))
    assert summary(early, PLAN, 0)["processes"][f"{WORKER} 0"]["growth_mib"] == 0


def test_the_peak_is_the_arena_and_what_the_root_nursery_did_not_have():
    # Root 4 and nursery 4 of their own, worker 10, less the 6 of the root's: at the second look the worker has 13.
    found = summary(samples(share=(10, 13)), PLAN, 5 * MIB)
    assert found["peak_mib"] == 5 + 4 + 4 + 13 - 6
    assert found["planned_mib"] == 8 and found["peak_to_plan"] == found["peak_mib"] / 8
