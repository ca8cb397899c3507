"""Three hundred steps with changing sizes leave nothing behind: no variable, no memory, no kernel."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.long_training import WARM_UP

ROOT = Path(__file__).resolve().parents[2]
STEPS = 300
GROWTH = 1.02  # of resident memory, from the end of the warm-up to any later step


@pytest.mark.parametrize("kind", ["stage_1", "partitioned"])
def test_three_hundred_steps_of_changing_sizes_leave_nothing_behind(kind: str) -> None:
    command = [sys.executable, "-m", "tests.trainer.long_training", kind, str(STEPS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert len(record) == STEPS
    sizes = [{tuple(step["size"]) for step in part} for part in (record[:WARM_UP], record[WARM_UP:])]
    assert len(sizes[1] - sizes[0]) > 10, "no new sizes after the warm-up"
    for what in ("variables", "operators", "kernels"):
        seen = {step[what] for step in record[WARM_UP:]}
        assert len(seen) == 1, f"{what} after the warm-up: {sorted(seen)}"
    resident = [step["resident"] for step in record[WARM_UP - 1 :]]
    assert max(resident) <= GROWTH * resident[0], [size >> 20 for size in resident[::10]]
