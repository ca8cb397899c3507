"""A watchdog over one worker, whose process is a sleeper and whose slot the test writes."""

import os
import re
import signal
import subprocess
import sys

import pytest

from data_server.serving import watchdog
from data_server.serving.child import Child, Work
from data_server.serving.loop import Loop
from data_server.serving.watchdog import Watchdog
from shared.arena import Arena, create_memory
from shared.channel import Channel
from shared.messages import Assign, Started

SLOT_BYTES = 4096


class Working:
    """A worker that has been given the batch of step 7 and says no more."""

    def __init__(self, process, **feed):
        self._loop, self.notices, self.failures = Loop(), [], []
        ours, theirs = Channel.pair()
        self._worker, child = Channel(theirs), Child(ours)
        self._worker.send(Started(), process)
        child.channel.read(Started)
        child.started()
        child.work = Work(Assign(step=7, slot=0, generation=1, samples=[], suspect=0, switched=False))
        self.workers = {0: child}
        self._watchdog = Watchdog(
            self._loop,
            {"worker_memory": 1, "image_seconds": 0} | feed,
            self.workers,
            self.notices.append,
            self._failed,
        )
        memory = create_memory(1, SLOT_BYTES)
        self.arena = Arena(memory, 1, SLOT_BYTES, writable=True)
        self._watchdog.begin(memory, SLOT_BYTES)

    def _failed(self, failure):
        """As a stream that ends: its workers are gone, and nobody is watched any more."""
        self.failures.append(failure.text)
        self.workers.clear()
        self._watchdog.stop()

    def until(self, condition):
        """Serves until `condition` comes true; a test that waits for ever has the suite's time limit."""

        def look():
            self._loop.running = not condition()
            self._loop.after(0.01, look)

        self._loop.running = True
        look()
        self._loop.run()
        self._loop.cancel(look)


@pytest.fixture
def process():
    """Somebody's pidfd, which the watchdog may kill."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        yield os.pidfd_open(sleeper.pid)
        sleeper.kill()


def test_after_half_a_minute_at_one_image_a_notice_names_worker_step_and_image_once(process, monkeypatch):
    assert watchdog.TELL_SECONDS == 30
    monkeypatch.setattr(watchdog, "TELL_SECONDS", 0.05)
    working = Working(process, image_seconds=600)
    working.arena.take_in_hand(0, 2, "images/slow.jpg")
    working.until(lambda: working.notices)
    looks = []
    look_at = Watchdog._look_at
    monkeypatch.setattr(Watchdog, "_look_at", lambda *words: looks.append(words) or look_at(*words))
    working.until(lambda: len(looks) > 3)
    (notice,) = working.notices
    assert re.fullmatch(
        r"worker 0 has been at work for \d+ s on image 'images/slow\.jpg', for the batch of step 7; "
        r"it is killed after feed\.image_seconds=600",
        notice,
    )


def test_a_worker_that_does_not_die_ends_its_stream_and_the_image_is_named(process, monkeypatch):
    monkeypatch.setattr(watchdog, "_DYING_SECONDS", 0.3)
    working = Working(process, image_seconds=0.1)
    working.arena.take_in_hand(0, 1, "mount/dead.jpg")
    working.until(lambda: working.failures)  # its nursery has not reported its end
    assert working.failures == [
        "worker 0 was killed over image 'mount/dead.jpg' and does not die; look at its disk or mount"
    ]
    assert os.waitid(os.P_PIDFD, process, os.WEXITED | os.WNOWAIT).si_status == signal.SIGKILL


GROW = "input(); held = bytes(range(256)) * (1 << 18); print(flush=True); input()"


def test_a_worker_that_takes_more_than_was_planned_is_condemned_with_both_sizes():
    with subprocess.Popen([sys.executable, "-c", GROW], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        working = Working(os.pidfd_open(process.pid), worker_memory=16)
        (worker,) = working.workers.values()
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline()
        working.until(lambda: worker.sentence is not None)
    assert worker.sentence.out_of_memory
    assert re.fullmatch(
        r"it held \d+ MiB, more than the 0 MiB that were planned and feed\.worker_memory=16", worker.sentence.verdict
    )


def test_a_worker_without_work_is_not_looked_at(process):
    working = Working(process, image_seconds=0.1)
    (worker,) = working.workers.values()
    worker.work = None
    looks = []
    working._loop.after(5 * watchdog.LOOK_SECONDS, lambda: looks.append(None))
    working.until(lambda: looks)
    assert worker.sentence is None and not working._watchdog._looking
