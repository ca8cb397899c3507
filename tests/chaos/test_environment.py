"""Hostile surroundings: few descriptors, hardly any /dev/shm, a full disk, a clock that jumps, clients that stall."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_server.machine.descriptors import GUESTS, DescriptorPlan
from shared.errors import UserError
from tests.cluster import ROOT, Cluster, digests, wait_for
from tests.photos import config_of

STEPS = 12
WORKERS = 2
# One's own mounts, unseen by anybody else and gone with the process.
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")


def mounted(place: str, size: str) -> tuple[str, ...]:
    """A launcher that gives a process a file system of `size` of its own at `place`."""
    return (*OWN_MOUNTS, "sh", "-c", f'mount -t tmpfs -o size={size} none {place} && exec "$@"', "sh")


@pytest.fixture(scope="session")
def own_mounts() -> None:
    if not shutil.which("unshare") or subprocess.run([*OWN_MOUNTS, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let its users have mounts of their own (unshare --map-root-user --mount)")


@pytest.fixture(scope="module")
def config(photos: Path) -> dict:
    return config_of(photos)


@pytest.fixture(scope="module")
def undisturbed(long_lived_cluster: Cluster, config: dict) -> list[str]:
    found = digests(long_lived_cluster.open(config), STEPS)
    long_lived_cluster.close_streams()
    return found


def open_files(limit: int) -> tuple[str, ...]:
    return ("prlimit", f"--nofile={limit}")


def descriptors(cluster: Cluster) -> list[str]:
    """What the descriptors of the server are."""
    found = []
    for path in Path(f"/proc/{cluster.server.pid}/fd").iterdir():
        try:
            found.append(os.readlink(path))
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


# Few descriptors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [8, 20, DescriptorPlan(0, WORKERS).needed(1) - 1])
def test_a_server_that_may_open_too_few_files_says_so_in_one_line(limit: int) -> None:
    command = [*open_files(limit), sys.executable, "-m", "data_server", "--listen", "ipc:///tmp/never"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: at most {limit} files may be open (ulimit -Hn), one stream of {WORKERS} workers takes "
        f"{DescriptorPlan(0, WORKERS).needed(1)}; raise the limit\n"
    )


@pytest.fixture
def narrow() -> Iterator[Cluster]:
    """A server that may open files for two streams and no more."""
    cluster = Cluster(WORKERS, open_files(DescriptorPlan(0, WORKERS).needed(2)))
    yield cluster
    cluster.stop()


def test_a_stream_too_many_is_refused_in_one_line_and_the_others_go_on(
    narrow: Cluster, config: dict, undisturbed: list[str]
) -> None:
    clients = [narrow.open(config) for _ in range(2)]
    found = [digests(client, 3) for client in clients]
    for _ in range(20):
        with pytest.raises(UserError, match=r"serves 2 streams of 2 workers at a time with at most .* open files; end"):
            narrow.open(config)
    assert [first + digests(client, STEPS - 3) for first, client in zip(found, clients, strict=True)] == 2 * [
        undisturbed
    ]
    clients[0].close()
    assert digests(narrow.open(config), STEPS) == undisturbed


def test_clients_that_connect_and_say_nothing_hold_no_memory_and_keep_nobody_out(
    narrow: Cluster, config: dict, undisturbed: list[str]
) -> None:
    silent = []
    for _ in range(4 * GUESTS):
        silent.append(socket.socket(socket.AF_UNIX))
        silent[-1].connect(narrow.address.lifeline)
    assert narrow.is_idle() and not any("memfd" in name for name in descriptors(narrow))
    assert digests(narrow.open(config), STEPS) == undisturbed
    assert len(descriptors(narrow)) <= DescriptorPlan(0, WORKERS).needed(1)
    for connection in silent:
        connection.close()


# Little memory and disk -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("own_mounts")
@pytest.mark.parametrize("size", ["64m", "4k"])
def test_dev_shm_may_be_as_small_as_it_likes(size: str, config: dict, undisturbed: list[str]) -> None:
    cluster = Cluster(WORKERS, mounted("/dev/shm", size))
    seen = subprocess.run(
        ["nsenter", f"--mount=/proc/{cluster.server.pid}/ns/mnt", "df", "--output=size", "-k", "/dev/shm"],
        capture_output=True,
        text=True,
    )
    client = cluster.open({**config, "feed": {**config["feed"], "max_boxes": 100_000, "slots": 20}})
    assert client.welcome.slots * client.welcome.slot_bytes > 64 << 20
    for _ in range(25):  # every slot is written
        client.next().release()
    client.close()
    assert digests(cluster.open(config), STEPS) == undisturbed
    cluster.stop()
    if seen.returncode == 0:
        assert int(seen.stdout.split()[-1]) == {"64m": 64 << 10, "4k": 4}[size]


SAVE = """
import sys
from pathlib import Path
import numpy as np
from shared.errors import UserError
from trainer.weights import checkpoint
from trainer.device import jt, nn
class Model(nn.Module):
    def __init__(self, width):
        self.weight = jt.array(np.arange(width, dtype=np.float32))
folder = Path(sys.argv[1])
checkpoint.save(folder / "step_1.safetensors", Model(1000), None, {"epoch": 0, "step": 1}, {})
before = sorted(path.name for path in folder.iterdir())
try:
    checkpoint.save(folder / "step_2.safetensors", Model(1_000_000), None, {"epoch": 0, "step": 2}, {})
except UserError as error:
    print(error)
assert sorted(path.name for path in folder.iterdir()) == before, list(folder.iterdir())
loaded = checkpoint.load(checkpoint.latest(folder))
assert loaded.path.name == "step_1.safetensors" and (loaded.model["weight"] == np.arange(1000)).all()
"""


@pytest.mark.usefixtures("own_mounts")
def test_a_full_disk_is_said_in_one_line_and_the_checkpoint_before_is_whole(tmp_path: Path) -> None:
    command = [*mounted(str(tmp_path), "1m"), sys.executable, "-c", SAVE, str(tmp_path)]
    environment = {**os.environ, "nvcc_path": ""}
    saved = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert saved.returncode == 0, saved.stderr
    assert saved.stdout.splitlines()[-1] == (
        f"cannot write the checkpoint {tmp_path}/step_2.safetensors: No space left on device; earlier checkpoints are "
        "untouched; free some space or make the folder writable, then resume"
    )


# A clock that jumps ---------------------------------------------------------------------------------------------------


CLIENT = """
import json, os, signal, sys, time
from shared.client import StreamClient
from shared.address import Address
from tests.cluster import digests
from tests.fuzz.strangers import good_hello
client = StreamClient(Address(sys.argv[1]), good_hello(json.load(sys.stdin)))
seen = set()
for step in range(int(sys.argv[2])):
    seen.add(time.time() // 43200)
    print(digests(client, 1)[0], len(seen), flush=True)
    time.sleep(float(sys.argv[3]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def start_client(
    cluster: Cluster, config: dict, pause: float = 0.0, launcher: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """A client of its own that prints the digest of each batch, and dies without a word."""
    client = subprocess.Popen(
        [*launcher, sys.executable, "-c", CLIENT, cluster.address.text, str(STEPS), str(pause)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    client.stdin.write(json.dumps(config))
    client.stdin.close()
    return client


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A launcher under which the wall clock jumps by a day, back and forth."""
    library = tmp_path_factory.mktemp("clock") / "clock_jumps.so"
    source = Path(__file__).with_name("clock_jumps.cpp")
    subprocess.run(["g++", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return ("env", f"LD_PRELOAD={library}")


def test_a_wall_clock_that_jumps_by_days_changes_no_byte_and_fires_no_time_out(
    config: dict, undisturbed: list[str], jumping: tuple[str, ...]
) -> None:
    cluster = Cluster(WORKERS, jumping)
    config = {**config, "feed": {**config["feed"], "linger_seconds": 60}}
    client = start_client(cluster, config, 0.1, jumping)
    lines = [line.split() for line in client.stdout]
    client.stdout.close()
    assert [digest for digest, _ in lines] == undisturbed
    assert int(lines[-1][1]) >= 3, "the clock has not jumped"
    assert client.wait() == -9
    wait_for(lambda: "the trainer is gone" in cluster.log, 2)
    for _ in range(12):
        cluster.address.is_served()  # something for the poll loop to do, that it may look at its timers
        time.sleep(0.1)
    assert len(cluster.workers()) == WORKERS, "the dead trainer's stream was to be kept for feed.linger_seconds"
    assert digests(cluster.open(config), STEPS) == undisturbed
    cluster.stop()


# Clients that stall ---------------------------------------------------------------------------------------------------


def test_a_client_that_never_releases_keeps_its_batches_whole_and_nobody_else_waits(
    cluster: Cluster, config: dict, undisturbed: list[str]
) -> None:
    holder = cluster.open(config)
    leases = [holder.next() for _ in range(2)]
    copies = [{name: array.copy() for name, array in lease.arrays.items()} for lease in leases]
    assert digests(cluster.open(config), STEPS) == undisturbed
    time.sleep(0.5)  # its own workers have filled every other slot by now
    for lease, copy in zip(leases, copies, strict=True):
        for name, array in copy.items():
            np.testing.assert_array_equal(lease.arrays[name], array)
        lease.release()
    assert digests(holder, STEPS - 2) == undisturbed[2:]


def test_a_client_that_is_stopped_loses_nothing_and_nobody_else_waits(
    cluster: Cluster, config: dict, undisturbed: list[str]
) -> None:
    gone = cluster.log.count("the trainer is gone")
    client = start_client(cluster, config)
    lines = [client.stdout.readline()]
    client.send_signal(signal.SIGSTOP)
    assert digests(cluster.open(config), STEPS) == undisturbed
    time.sleep(1)
    assert cluster.log.count("the trainer is gone") == gone
    client.send_signal(signal.SIGCONT)
    lines += client.stdout.readlines()
    client.stdout.close()
    assert [line.split()[0] for line in lines] == undisturbed
    client.wait()
