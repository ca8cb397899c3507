"""Three hundred steps with changing sizes leave nothing behind: no variable, no memory, no kernel."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = 300
COMPILED = 10  # steps after which all kernels are there, though most of the 25 sizes are still to come
WARM_UP = 50  # steps after which memory is flat
GROWTH = 1.02  # of resident memory, from the end of the warm-up to any later step


@pytest.mark.parametrize("kind", ["stage_1", "partitioned"])
def test_three_hundred_steps_of_changing_sizes_leave_nothing_behind(kind: str) -> None:
    command = [sys.executable, "-m", "tests.trainer.long_training", kind, str(STEPS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert len(record) == STEPS
    kernels = {step["kernels"] for step in record[COMPILED:]}
    assert len(kernels) == 1, f"kernels after {COMPILED} steps: {sorted(kernels)}"
    for what in ("variables", "operators"):
        seen = {step[what] for step in record[WARM_UP:]}
        assert len(seen) == 1, f"{what} after the warm-up: {sorted(seen)}"
    resident = [step["resident"] for step in record[WARM_UP - 1 :]]
    assert max(resident) <= GROWTH * resident[0], [size >> 20 for size in resident[::10]]
