"""A pool whose nursery and worker are played by the test."""

import os
import socket
import subprocess

import pytest

from data_server.serving.loop import Loop
from data_server.serving.meter import Meter
from data_server.serving.pool import Pool
from shared.link import Channel
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


FEED = {"feed": {"worker_memory": 1, "image_seconds": 0}}


class Events:
    """A stream that opens its pool when the data set is built, and is closed by its first batch."""

    def __init__(self, loop, fork_nursery):
        self.meter = Meter()
        self.notices = []
        self.idle = []
        self._loop = loop
        self.pool = Pool(loop, self, FEED, 1, fork_nursery)

    def built(self, _facts, memory):
        self.pool.open(1, 4096, memory)

    def worker_idle(self, worker):
        self.idle.append(worker)

    def worker_wrote(self, _worker, _message):
        self.pool.close()
        self._loop.running = False

    def notice(self, text):
        self.notices.append(text)


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
