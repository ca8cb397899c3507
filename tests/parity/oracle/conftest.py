"""One oracle for all tests that ask it."""

import importlib.util
from collections.abc import Iterator

import pytest

from benchmarks.networks.mmcv_operators import unpack_wheel
from tests.parity.oracle.process import Oracle


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    for package in ("torch", "mmdet"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no oracle: {package} is not installed")
    running = Oracle(unpack_wheel(tmp_path_factory.mktemp("mmcv")))
    yield running
    running.stop()


@pytest.fixture
def compiled(oracle: Oracle) -> Oracle:
    """The oracle, with mmcv's compiled operators."""
    if not oracle.has_compiled_operators:
        pytest.skip("no compiled mmcv: neither installed nor as a wheel in $WHEELS_DIR")
    return oracle
