"""A real data server in processes of its own, for tests, and what can be seen of it from outside."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from shared.address import Address
from shared.arena import Arena
from shared.client import StreamClient
from shared.lifetime import die_with_parent
from shared.messages import Hello, Quarantined

ROOT = Path(__file__).parents[1]
# The seconds in the tests are those of a machine that does nothing else. A suite that shares its cores waits longer.
PATIENCE = float(os.environ.get("PATIENCE", "30"))
START_SECONDS = 20
STOP_SECONDS = 2


class Cluster:
    """``python -m data_server`` on an address of its own.

    Args:
        launcher: words before that command, such as ``("prlimit", "--nofile=100")``; must end in an exec.
        options: more of the command line.

    Attributes:
        notices: all lines that the server sent to the streams opened here.
        quarantined: the samples of theirs that were found to kill workers.
        workers_of_a_stream: how many processes each of its training streams has for its batches.
    """

    def __init__(self, workers: int = 2, launcher: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> None:
        self.workers_of_a_stream = workers
        self._launcher = launcher
        self._options = options
        self._shared_memory = set(os.listdir("/dev/shm"))
        self._directory = tempfile.TemporaryDirectory(prefix="feed")
        self.address = Address(f"ipc://{self._directory.name}/d")
        self.log_file = Path(self._directory.name) / "log"
        self.notices: list[str] = []
        self.quarantined: list[Quarantined] = []
        self._clients: list[StreamClient] = []
        self._seen: set[psutil.Process] = set()
        self._log_start = 0
        self.start(workers)

    def start(self, workers: int = 2) -> None:
        """Starts the server; again, when it was killed."""
        pytest_process = os.getpid()
        with self.log_file.open("a") as log:
            self.server = subprocess.Popen(
                [
                    *self._launcher,
                    *(sys.executable, "-m", "data_server"),
                    *("--workers", str(workers), "--listen", self.address.text),
                    *self._options,
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: die_with_parent(pytest_process),
            )
        wait_for(self.address.is_served, START_SECONDS)

    def open(self, config: dict[str, Any], **hello: Any) -> StreamClient:
        """A stream of the data part `config`; `hello` overrides fields of HELLO."""
        hello = {"seed": 7, "rank": 0, "world_size": 1, "epoch": 0, "step": 0, "epochs": 0, "credits": 2} | hello
        client = StreamClient(
            self.address, Hello("test", config, **hello), self.notices.append, self.quarantined.append
        )
        self._clients.append(client)
        return client

    def close_streams(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        self.notices.clear()
        self.quarantined.clear()

    @property
    def directory(self) -> str:
        """Where the server has its own directory, and its log."""
        return self._directory.name

    @property
    def log(self) -> str:
        """What the server wrote, since `start_log` if that was called."""
        return self.log_file.read_bytes()[self._log_start :].decode()

    def start_log(self) -> None:
        """From here on `log` is the next test's: what an earlier one made the server write is no fault of that."""
        self._log_start = self.log_file.stat().st_size

    # Who is who: the server starts the root nursery, that forks the streams' nurseries, those workers and evaluators.

    def processes(self) -> list[psutil.Process]:
        processes = psutil.Process(self.server.pid).children(recursive=True)
        self._seen.update(processes)
        return processes

    def root(self) -> psutil.Process:
        children = psutil.Process(self.server.pid).children()
        return next(child for child in children if "data_server.workers.nursery" in child.cmdline())

    def nurseries(self) -> list[psutil.Process]:
        self.processes()
        return self.root().children()

    def workers(self) -> list[psutil.Process]:
        """Those that live: a dead one stays a process until its nursery has heard of it."""
        return [worker for nursery in self.nurseries() for worker in nursery.children() if lives(worker)]

    def is_idle(self) -> bool:
        """No stream has a process left."""
        return not self.nurseries()

    def stop(self) -> None:
        """Stops the server; whatever it left behind is an error."""
        self.close_streams()
        if self.server.poll() is None:
            self.processes()
            self.server.send_signal(signal.SIGTERM)
        self.server.wait(STOP_SECONDS * PATIENCE)
        wait_for(lambda: not self.survivors(), STOP_SECONDS)
        left = left_in_shared_memory(self._shared_memory)
        self._directory.cleanup()
        assert not left, f"left in /dev/shm: {left}"

    def survivors(self) -> list[psutil.Process]:
        """Processes of this server that run although it is dead."""
        return [process for process in self._seen if lives(process)]


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def left_in_shared_memory(before: set[str]) -> set[str]:
    """What is in /dev/shm that was not there `before` and that no running process uses: others have theirs there.

    What Open MPI leaves of ranks that were killed is no data server's.
    """
    left = {name for name in os.listdir("/dev/shm") if not name.startswith("sm_segment.")} - before
    if not left:
        return left
    used = "\n".join(text for process in Path("/proc").glob("[0-9]*") for text in _files_of(process))
    return {name for name in left & set(os.listdir("/dev/shm")) if f"/dev/shm/{name}" not in used}


def _files_of(process: Path) -> list[str]:
    """What a process has mapped and opened; nothing when it ends meanwhile."""
    try:
        return [(process / "maps").read_text(), *(os.readlink(path) for path in (process / "fd").iterdir())]
    except OSError:
        return []


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    """Waits until `condition` yields something true, and returns that; fails after `seconds`, times `PATIENCE`."""
    end = time.monotonic() + seconds * PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)
    return value


def digests(client: StreamClient, steps: int) -> list[str]:
    """SHA-256 over all arrays of each of the next `steps` batches."""
    found = []
    for _ in range(steps):
        lease = client.next()
        digest = hashlib.sha256(f"{lease.epoch} {lease.step} {lease.valid}".encode())
        for name, array in lease.arrays.items():
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        found.append(digest.hexdigest())
        lease.release()
    return found


def arena_of(cluster: Cluster, client: StreamClient) -> Arena:
    """The client's arena as the server holds it: writable."""
    descriptors = Path(f"/proc/{cluster.server.pid}/fd").iterdir()
    memory = next(path for path in descriptors if "unidetector-arena" in os.readlink(path))
    descriptor = os.open(memory, os.O_RDWR)
    try:
        return Arena(descriptor, client.welcome.slots, client.welcome.slot_bytes, writable=True)
    finally:
        os.close(descriptor)
