"""Tests in files ``apart_*.py`` look at the workers' side from within, so they load torch: each file is run by a pytest
of its own, because this one's process may hold Jittor.

    python -m pytest tests/data_server/datasets/apart_classes.py     runs one by itself
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import ROOT

FILES = sorted(str(path.relative_to(ROOT)) for path in Path(__file__).parent.rglob("apart_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_all_of(file):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
