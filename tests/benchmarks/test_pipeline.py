"""The short form of ``make bench``: a few images, real processes on both sides; no figure is judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.pipeline import BATCH_SIZE, CEILING, HANDED_OVER, OURS, TARGETS, THEIRS, UNCHECKED
from benchmarks.standard_data import make_photographs

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.long
def test_the_pipeline_benchmark_measures_every_contender_and_writes_json(tmp_path):
    make_photographs(tmp_path / "data", count=8)
    result = tmp_path / "results" / "pipeline.json"
    command = [sys.executable, "-m", "benchmarks.pipeline", "--data-root", tmp_path / "data", "--output", result]
    command += ["--rounds", "5", "--images", str(BATCH_SIZE), "--workers", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text())
    assert all(
        found["median"][side]["images_per_second"] > 0 for side in (OURS, THEIRS, CEILING, HANDED_OVER, UNCHECKED)
    )
    assert list(found["ratios"]) == [f"{one} : {other}" for one, other in TARGETS]
    assert all(low <= value <= high for ratios in found["ratios"].values() for value, low, high in ratios.values())
    assert "ratio" in done.stdout and "What limits it" in done.stdout
