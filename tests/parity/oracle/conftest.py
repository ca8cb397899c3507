"""One oracle for all tests that ask it."""

import importlib.util
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity.oracle.process import ROOT, Oracle


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    for package in ("torch", "mmdet"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no oracle: {package} is not installed")
    running = Oracle(_compiled_mmcv(tmp_path_factory))
    yield running
    running.stop()


def _compiled_mmcv(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Where a wheel's mmcv with compiled operators has been unpacked; None without a wheel."""
    folder = Path(os.environ.get("WHEELS_DIR", ROOT.parent / "shared" / "wheels"))
    wheels = sorted(folder.glob("*mmcv*.whl"))
    if not wheels:
        return None
    target = tmp_path_factory.mktemp("mmcv")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        wheel.extractall(target)
    return target


@pytest.fixture
def compiled(oracle: Oracle) -> Oracle:
    """The oracle, with mmcv's compiled operators."""
    if not oracle.has_compiled_operators:
        pytest.skip("no compiled mmcv: neither installed nor as a wheel in $WHEELS_DIR")
    return oracle
