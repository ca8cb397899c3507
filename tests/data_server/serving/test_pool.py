"""A pool whose nursery and worker are played by the test."""

import os
import re
import signal
import subprocess
import sys

import pytest

from data_server.handover.far_link import Place
from data_server.serving import construction
from data_server.serving.loop import Loop
from data_server.serving.meter import Meter
from data_server.serving.nodes import FarNode
from data_server.serving.pool import LOOK_SECONDS, Pool
from shared.arena import create_memory
from shared.channel import Channel
from shared.messages import Assign, Build, Exited, Lost, Proof, Prove, Spawn, Started, Wrote
from tests.data_server.played import FACTS, go_on, spawned

FEED = {"feed": {"worker_memory": 1, "image_seconds": 0}, "dataset": {"type": "Photos"}}
SLOT_BYTES = 4096


class Events:
    """A stream that opens its pool when the data set is built, and is closed by its first batch."""

    last_words = "look there"

    def __init__(self, loop, fork_nursery, config=FEED, nodes=None):
        self.meter = Meter()
        self.notices = []
        self.idle = []
        self.deaths = []
        self.failures = []
        self._loop = loop
        self.pool = Pool(loop, self, config, 1, fork_nursery, nodes)

    def built(self, _facts, memory):
        self.pool.open(1, SLOT_BYTES, memory, 1)

    def worker_idle(self, worker):
        self.idle.append(worker)

    def worker_wrote(self, _worker, _message):
        self.pool.close()
        self._loop.running = False

    def worker_died(self, worker, death):
        self.deaths.append((worker, str(death)))

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
    go_on(loop)
    order, worker = spawned(nursery)
    assert order.worker == 0
    worker.send(Started(), process)
    too_large = 2 << 20
    worker.send(
        Wrote(step=0, slot=0, generation=1, layout=b"", digest=0, replaced=[], memory=too_large, microseconds=0)
    )
    loop.running = True
    loop.run()
    assert events.idle == [0]  # after STARTED, and not after the batch
    assert not events.notices and not events.meter.worker_restarts


class Nodes:
    """One, with room for one worker of each stream."""

    def __init__(self):
        self.known = [FarNode(Place("a", "tcp://a:1", "", "", ""), 1)]
        self.listeners = []
        self.receiving, self.elastic = 1.0, False


def test_proxies_come_when_there_is_something_to_compare_and_die_of_the_sentence_on_their_far_workers(process):
    loop = Loop()
    ours, theirs = Channel.pair()
    nursery = Channel(theirs)
    events = Events(loop, lambda: ours, nodes=Nodes())
    nursery.receive(Build)
    nursery.send(Started(), process)
    nursery.send(FACTS, create_memory(1, SLOT_BYTES))
    go_on(loop)
    (here, worker), asked = spawned(nursery), nursery.receive(Spawn, Prove)
    assert not here.far and isinstance(asked, Prove)
    worker.send(Started(), process)
    go_on(loop)  # what it makes to compare takes its time, and nothing waits for that
    assert events.idle == [here.worker]
    nursery.send(Proof("", b"", [], {}))
    go_on(loop)
    there, proxy = spawned(nursery)
    assert there.far
    with subprocess.Popen(["sleep", "60"]) as far_worker:
        proxy.send(Started(), os.pidfd_open(far_worker.pid))
        go_on(loop)
        events.pool.assign(there.worker, Assign(0, 0, 1, [[3, 5]], 0, False))
        proxy.send(Lost(signal.SIGKILL, 0, 1, "03.jpg", "it held too much"))
        go_on(loop)
        assert far_worker.wait() == -signal.SIGKILL
        nursery.send(Exited(there.worker, signal.SIGKILL, 0))
        go_on(loop)
    assert events.deaths == [(there.worker, "was killed because it held too much")]


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
        go_on(self._loop, seconds)


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
