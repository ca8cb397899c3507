"""Fault points strike where and when they should."""

import os
import signal
import subprocess
import sys

import pytest

from tests.cluster import ROOT

CODE = """
from shared.faults import reach
for number in range(3):
    reach("somewhere")
    reach("elsewhere")
    print(number, flush=True)
"""


@pytest.mark.parametrize(
    ("fault", "code", "printed"),
    [
        ("elsewhere:2", -signal.SIGKILL, "0\n"),
        ("somewhere:3:SIGTERM", -signal.SIGTERM, "0\n1\n"),
        ("nowhere:1", 0, "0\n1\n2\n"),
        (None, 0, "0\n1\n2\n"),
    ],
)
def test_a_process_dies_at_the_point_the_time_and_by_the_signal_that_it_was_told(fault, code, printed):
    environment = {**os.environ, **({"FAULT": fault} if fault else {})}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, printed)
