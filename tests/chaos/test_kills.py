"""kill -9 of everybody, one after the other: what the others see, and that nothing is left behind."""

import json
import signal
import subprocess
import sys
import time

import psutil
import pytest

from shared.client import ServerGone
from tests.cluster import ROOT, Cluster, digests, wait_for
from tests.photos import TRAIN_PIPELINE, config_of

STEPS = 16


@pytest.fixture(scope="module")
def slow(photos):
    """A stream whose workers are always met at work."""
    pipeline = (*TRAIN_PIPELINE[:-1], {"type": "Slow"}, TRAIN_PIPELINE[-1])
    return config_of(photos, pipeline=pipeline, custom_imports={"imports": ["tests.data_server.transforms"]})


@pytest.fixture(scope="module")
def undisturbed(long_lived_cluster, slow):
    found = digests(long_lived_cluster.open(slow), STEPS)
    long_lived_cluster.close_streams()
    return found


def kill_and_go_on(cluster, config, victim, times=1) -> list[str]:
    """The digests of a stream during which `victim`, a function, names a process to be killed."""
    client = cluster.open(config)
    found = digests(client, 3)
    for _ in range(times):
        victim().kill()
        found += digests(client, 3)
    return found + digests(client, STEPS - len(found))


def test_the_death_of_a_worker_changes_no_byte(cluster, slow, undisturbed):
    assert kill_and_go_on(cluster, slow, lambda: wait_for(cluster.workers, 5)[0], times=4) == undisturbed
    wait_for(lambda: len(cluster.workers()) == 2, 5)
    assert any(" died; the batch of step " in notice for notice in cluster.notices)


def test_the_death_of_all_workers_at_once_changes_no_byte(cluster, slow, undisturbed):
    client = cluster.open(slow)
    found = digests(client, 3)
    for worker in cluster.workers():
        worker.kill()
    assert found + digests(client, STEPS - 3) == undisturbed


def test_the_death_of_a_worker_that_is_being_born_changes_no_byte(cluster, slow, undisturbed):
    client = cluster.open(slow)
    found = digests(client, 3)
    old = cluster.workers()
    old[0].kill()
    fresh = wait_for(lambda: [worker for worker in cluster.workers() if worker not in old], 5)
    fresh[0].kill()
    assert found + digests(client, STEPS - 3) == undisturbed


def test_the_death_of_the_streams_nursery_changes_no_byte(cluster, slow, undisturbed):
    assert kill_and_go_on(cluster, slow, lambda: wait_for(cluster.nurseries, 5)[0], times=2) == undisturbed
    assert "the process that holds the data set died; building it again" in cluster.notices


def test_the_death_of_the_root_nursery_changes_no_byte(cluster, slow, undisturbed):
    assert kill_and_go_on(cluster, slow, cluster.root) == undisturbed
    assert "the root nursery died; starting another" in cluster.log


def test_a_worker_that_is_stopped_delays_the_stream_and_changes_no_byte(cluster, slow, undisturbed):
    client = cluster.open(slow)
    found = digests(client, 3)
    worker = cluster.workers()[0]
    worker.suspend()
    time.sleep(0.3)
    worker.resume()
    assert found + digests(client, STEPS - 3) == undisturbed


CLIENT = """
import json, sys
from shared.client import StreamClient
from shared.link import Address
from shared.messages import Hello
client = StreamClient(Address(sys.argv[1]), Hello("victim", json.load(sys.stdin), 7, 0, 1, 0, 0, 0, 2))
lease = client.next()
print(lease.step, flush=True)
import time; time.sleep(60)
"""


def test_the_death_of_a_trainer_frees_all_it_had_and_the_next_one_is_served(cluster, slow, undisturbed):
    trainer = subprocess.Popen(
        [sys.executable, "-c", CLIENT, cluster.address.text],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    trainer.stdin.write(json.dumps(slow).encode())
    trainer.stdin.close()
    assert trainer.stdout.readline() == b"0\n"
    assert len(cluster.workers()) == 2
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    wait_for(cluster.is_idle, 2)
    wait_for(lambda: "the trainer is gone" in cluster.log, 2)
    assert digests(cluster.open(slow), STEPS) == undisturbed


def test_the_death_of_the_server_is_said_within_a_second_and_another_takes_its_place(slow, undisturbed):
    cluster = Cluster()
    try:
        client = cluster.open(slow)
        found = digests(client, 3)
        cluster.processes()
        cluster.server.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        with pytest.raises(ServerGone, match="is gone"):
            digests(client, STEPS)
        assert time.monotonic() - killed < 1
        wait_for(lambda: not cluster.survivors(), 2)
        with pytest.raises(ServerGone, match="no data server answers"):
            cluster.open(slow)
        assert cluster.address.directory.exists()  # a killed server cannot tidy up; the next one takes over
        cluster.server.wait()
        cluster.start()
        assert found + digests(cluster.open(slow, step=3), STEPS - 3) == undisturbed
    finally:
        cluster.stop()


def test_the_death_of_the_server_is_noticed_in_the_middle_of_sending_predictions(slow):
    """More messages than ZeroMQ queues: without an eye on the lifeline the client would wait for ever."""
    cluster = Cluster()
    try:
        client = cluster.open(slow)
        psutil.Process(cluster.server.pid).suspend()

        def predictions():
            for number in range(100_000):
                if number == 10:
                    cluster.server.kill()
                yield {}

        with pytest.raises(ServerGone):
            client.evaluate(predictions(), [])
    finally:
        cluster.server.kill()
        cluster.stop()
