"""A pool whose nursery and worker are played by the test."""

import os
import re
import socket
import subprocess
import sys

import pytest

from data_server.serving import construction
from data_server.serving.loop import Loop
from data_server.serving.meter import Meter
from data_server.serving.pool import LOOK_SECONDS, Pool
from shared.channel import Channel
from shared.messages import Build, Facts, Spawn, Started, Wrote

FACTS = Facts(
    classes=[["a"]],
    images=1,
    sizes=[1],
    fingerprint="",
    max_boxes=1,
    max_proposals=0,
    batch_height=32,
    batch_width=32,
    nursery_bytes=0,
    worker_bytes=0,
)


FEED = {"feed": {"worker_memory": 1, "image_seconds": 0}, "dataset": {"type": "Photos"}}
SLOT_BYTES = 4096


class Events:
    """A stream that opens its pool when the data set is built, and is closed by its first batch."""

    last_words = "look there"

    def __init__(self, loop, fork_nursery, config=FEED):
        self.meter = Meter()
        self.notices = []
        self.idle = []
        self.failures = []
        self._loop = loop
        self.pool = Pool(loop, self, config, 1, fork_nursery)

    def built(self, _facts, memory):
        self.pool.open(1, SLOT_BYTES, memory)

    def worker_idle(self, worker):
        self.idle.append(worker)

    def worker_wrote(self, _worker, _message):
        self.pool.close()
        self._loop.running = False

    def notice(self, text):
        self.notices.append(text)

    def failed(self, failure):
        self.failures.append(failure.text)
        self.pool.close()


@pytest.fixture
def process():
    """Somebody's pidfd, which the pool may kill."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        yield os.pidfd_open(sleeper.pid)
        sleeper.kill()


def test_a_batch_that_ends_the_stream_is_the_last_that_is_heard_of_its_workers(process):
    loop = Loop()
    ours, theirs = Channel.pair()
    nursery = Channel(theirs)
    events = Events(loop, lambda: ours)
    assert nursery.receive(Build).config == FEED
    nursery.send(Started(), process)
    nursery.send(FACTS, os.memfd_create("facts"))
    loop.after(0.1, lambda: setattr(loop, "running", False))
    loop.run()
    assert nursery.receive(Spawn).worker == 0
    descriptor, _ = nursery.take_descriptors(2)
    worker = Channel(socket.socket(fileno=descriptor))
    worker.send(Started(), process)
    too_large = 2 << 20
    worker.send(Wrote(step=0, slot=0, generation=1, layout=b"", digest=0, replaced=[], memory=too_large))
    loop.running = True
    loop.run()
    assert events.idle == [0]  # after STARTED, and not after the batch
    assert not events.notices and not events.meter.worker_restarts


HOLD = """
import sys
sys.stdin.readline()
held = b"x" * (64 << 20)
print(flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def builder():
    """A process that takes 64 MiB when it gets a line, and then says a line."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


class Building:
    """A pool whose nurseries build until the test lets them die."""

    def __init__(self, config):
        self._loop = Loop()
        self.nurseries = []
        self.events = Events(self._loop, self._fork, config)

    def _fork(self):
        ours, theirs = Channel.pair()
        self.nurseries.append(Channel(theirs))
        return ours

    def run(self, seconds):
        self._loop.running = True
        self._loop.after(seconds, self._stop)
        self._loop.run()

    def _stop(self):
        self._loop.running = False


def test_a_data_set_whose_builder_the_kernel_kills_says_so_with_its_memory(tmp_path, builder, monkeypatch):
    kills = [3]
    monkeypatch.setattr(construction, "out_of_memory_kills", lambda: kills[0])
    monkeypatch.setattr(construction, "available", lambda: 500 << 20)
    (tmp_path / "a.json").write_bytes(bytes(7 << 20))
    building = Building(FEED | {"dataset": {"type": "CocoDataset", "ann_file": str(tmp_path / "a.json")}})
    (nursery,) = building.nurseries
    nursery.send(Started(), os.pidfd_open(builder.pid))
    building.run(2 * LOOK_SECONDS)
    builder.stdin.write(b"\n")
    builder.stdin.flush()
    assert builder.stdout.readline()
    building.run(3 * LOOK_SECONDS)
    kills[0] = 4
    nursery.close()
    building.run(LOOK_SECONDS)
    (text,) = building.events.failures
    assert len(building.nurseries) == 1, "it was built again"
    found = re.fullmatch(
        r"out of memory while building data set .*/a\.json \(7 MiB\): (\d+) MiB of memory were held when that was last "
        r"looked at, 500 MiB were available at the beginning; free some memory, or use a larger machine",
        text,
    )
    assert found and int(found[1]) >= 64


def test_a_builder_that_dies_of_something_else_is_replaced_and_then_its_memory_is_told(monkeypatch):
    monkeypatch.setattr(construction, "out_of_memory_kills", lambda: 3)
    building = Building(FEED)
    for _ in range(3):
        building.nurseries[-1].close()
        building.run(0.05)
    (text,) = building.events.failures
    assert text.startswith("the process that builds the data set died 3 times; look there (data set Photos (0 MiB): ")
