"""What several tests share: a small data set and a running data server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.photos import draw


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``images/`` and ``all.json``; not to be changed."""
    return draw(tmp_path_factory.mktemp("photos") / "set")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A data server with two workers per stream, for all tests that leave it alive."""
    cluster = Cluster(workers=2)
    yield cluster
    cluster.stop()
