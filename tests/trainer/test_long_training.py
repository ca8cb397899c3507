"""Three hundred steps with changing sizes leave nothing behind: no variable, no memory, no kernel."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = 300
COMPILED = 5  # steps after which all kernels are there, though half of the nine sizes are still to come
WARM_UP = 200  # steps after which no variable is added, and no memory to what Jittor's allocator holds: the last at 139
SETTLED = 150  # steps after which all pages of the allocators' pools that are ever touched have been
WINDOW = 50  # steps over which memory is averaged: what oneDNN works in comes and goes with every size
GROWTH = 1.02  # of resident memory, from the window behind SETTLED to the last one


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("stage_1", marks=pytest.mark.chaos), "partitioned"])
def test_three_hundred_steps_of_changing_sizes_leave_nothing_behind(kind: str) -> None:
    command = [sys.executable, "-m", "tests.trainer.long_training", kind, str(STEPS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert len(record) == STEPS
    kernels = {step["kernels"] for step in record[COMPILED:]}
    assert len(kernels) == 1, f"kernels after {COMPILED} steps: {sorted(kernels)}"
    for what in ("variables", "operators", "held"):
        seen = {step[what] for step in record[WARM_UP:]}
        assert len(seen) == 1, f"{what} after the warm-up: {sorted(seen)}"
    resident = [step["resident"] for step in record]
    early, late = median(resident[SETTLED : SETTLED + WINDOW]), median(resident[-WINDOW:])
    assert late <= GROWTH * early, [size >> 20 for size in resident[::10]]
