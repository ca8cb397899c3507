"""What several tests share: a small data set and a running data server."""

import os
import pwd
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.marks import IMPORTED, marks_of
from tests.photos import draw

# On a GPU cuDNN would round what it multiplies to TF32: parity is asked for to a part in ten thousand.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")

# A shell starts background jobs with SIGINT ignored, and children inherit that: tests send SIGINT to theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own, for all processes: the user's stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def memory_given_back() -> Iterator[None]:
    """What a module has had Jittor allocate: several pytest processes share the machine."""
    yield
    if jittor := sys.modules.get("jittor"):
        jittor.gc()


@pytest.fixture(params=["nowhere", "cannot be written"])
def homeless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user without a home directory, as in a container that runs under some number, or with one that is read-only."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "JITTOR_HOME"):
        monkeypatch.delenv(name, raising=False)
    if request.param != "nowhere":
        monkeypatch.setenv("HOME", "/proc")
    return request.param


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``images/`` and ``all.json``; not to be changed."""
    return draw(tmp_path_factory.mktemp("photos") / "set")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--far", action="store_true", help="give the tests' data server workers on a Ray node as well")


@pytest.fixture(scope="session")
def long_lived_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    kind = Cluster
    if request.config.getoption("--far"):
        from tests.data_server.far.far_cluster import FarCluster

        kind = FarCluster
    cluster = kind(workers=2)
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(long_lived_cluster: Cluster) -> Iterator[Cluster]:
    """A data server with two workers per stream, for all tests that leave it alive."""
    long_lived_cluster.start_log()
    yield long_lived_cluster
    long_lived_cluster.close_streams()


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[IMPORTED] = {name.partition(".")[0] for name in sys.modules}


SLOWNESS = {"slow": 2, "jittor": 1, "server": 1}  # by mark

ODD_FILES = {
    "a directory": os.mkdir,
    "a named pipe": os.mkfifo,
    "a device": lambda path: os.symlink("/dev/zero", path),
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
}


@pytest.fixture(params=ODD_FILES)
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A path at which there is something else than a file, and what that is."""
    path = tmp_path / "odd.jpg"
    ODD_FILES[request.param](path)
    return path, request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all tests, and puts the files with slow ones first: a slow one at the end would keep one process busy while
    the others have nothing to do."""
    slowness: Counter[Path] = Counter()
    for item in items:
        for mark in marks_of(item):
            item.add_marker(mark)
        slowness[item.path] = max(slowness[item.path], *(SLOWNESS.get(mark.name, 0) for mark in item.iter_markers()), 0)
    items.sort(key=lambda item: -slowness[item.path])
