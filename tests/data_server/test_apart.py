"""Tests in files ``apart_*.py`` look at the workers' side from within, so they load torch: those of a folder are run by
a pytest of their own, because this one's process may hold Jittor. It imports MMDetection as a nursery does.

    python -m pytest tests/data_server/datasets/apart_classes.py     runs one by itself
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import ROOT

PYTEST = """
import sys, pytest
from data_server.datasets.lazy_imports import import_mmdetection
import_mmdetection()
sys.exit(pytest.main())
"""

FOLDERS: dict[str, list[str]] = {}
for path in sorted(Path(__file__).parent.rglob("apart_*.py")):
    FOLDERS.setdefault(str(path.parent.relative_to(ROOT)), []).append(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_all_of(folder):
    command = [sys.executable, "-c", PYTEST, "-q", "-p", "no:cacheprovider", "-W", "ignore", *FOLDERS[folder]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
