"""Who may import whom: pyproject.toml says it, here it is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, modules_in
from tests.marks import IMPORTED


def test_every_import_contract_holds():
    lint = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run([lint, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


# What a contract cannot see is what other people's packages import.
@pytest.mark.parametrize(
    ("rooms", "forbidden"),
    [
        (("shared",), ("torch", "mmdet", "mmcv", "jittor")),
        (
            tuple(f"data_server/{room}" for room in ("serving", "handover", "machine", "files", "index")),
            ("torch", "mmdet", "mmcv", "jittor"),
        ),
        (("trainer/reporting", "trainer/process"), ("torch", "jittor")),
    ],
    ids=["shared", "server process", "reports"],
)
def test_importing_all_of_a_room_brings_no_framework(rooms, forbidden):
    names = [name for room in rooms for name in modules_in(room)]
    script = f"import sys, {', '.join(names)}; print(*sorted({set(forbidden)!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []


def test_collecting_the_tests_imports_neither_torch_nor_mmdetection(pytestconfig: pytest.Config) -> None:
    """Those that need them import them in a function: collecting stays quick, and Jittor is not beside torch."""
    assert pytestconfig.stash[IMPORTED].isdisjoint({"torch", "mmdet", "mmcv"})
