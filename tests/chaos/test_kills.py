"""kill -9 of everybody, one after the other: what the others see, and that nothing is left behind."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from shared.client import ServerGone, StreamFailed
from tests.chaos.reader import PREDICTIONS
from tests.cluster import PATIENCE, ROOT, Cluster, digests, wait_for
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
    assert any(" was killed by SIGKILL; the batch of step " in notice for notice in cluster.notices)


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


def kill_while_building(cluster, config, times):
    """The digests of a stream whose nursery is killed `times` times before its data set is built."""
    config = {
        **config,
        "custom_imports": {"imports": ["tests.data_server.slow_import", "tests.data_server.transforms"]},
    }
    wait_for(cluster.is_idle, 2)
    with ThreadPoolExecutor(1) as thread:
        client = thread.submit(cluster.open, config)
        killed = []
        for _ in range(times):
            nursery = wait_for(lambda: [one for one in cluster.nurseries() if one not in killed], 5)[0]
            time.sleep(0.2)
            nursery.kill()
            killed.append(nursery)
        return digests(client.result(), STEPS)


def test_the_death_of_a_nursery_that_is_building_changes_no_byte(cluster, slow, undisturbed):
    assert kill_while_building(cluster, slow, 2) == undisturbed


def test_a_nursery_that_dies_again_and_again_while_it_builds_ends_its_stream(cluster, slow):
    with pytest.raises(StreamFailed, match="the process that builds the data set died 3 times; see the data server's"):
        kill_while_building(cluster, slow, 3)


def test_workers_that_die_at_birth_again_and_again_end_their_stream(cluster, photos):
    config = config_of(photos, custom_imports={"imports": ["tests.data_server.deadly_fork"]})
    with pytest.raises(StreamFailed, match="no worker can be started; see the data server's log"):
        digests(cluster.open(config), 1)
    wait_for(cluster.is_idle, 2)
    assert digests(cluster.open(config_of(photos)), 1)


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
from shared.address import Address
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


@pytest.fixture(scope="module")
def mortal():
    """A server to be killed."""
    cluster = Cluster()
    yield cluster
    cluster.stop()


def test_the_death_of_the_server_is_said_within_a_second_and_another_takes_its_place(mortal, slow, undisturbed):
    client = mortal.open(slow)
    found = digests(client, 3)
    mortal.processes()
    mortal.server.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    with pytest.raises(ServerGone, match="is gone"):
        digests(client, STEPS)
    assert time.monotonic() - killed < 1 * PATIENCE
    wait_for(lambda: not mortal.survivors(), 2)
    with pytest.raises(ServerGone, match="no data server answers"):
        mortal.open(slow)
    assert mortal.address.directory.exists()  # a killed server cannot tidy up; the next one takes over
    mortal.server.wait()
    mortal.start()
    assert found + digests(mortal.open(slow, step=3), STEPS - 3) == undisturbed


def test_the_death_of_the_server_is_noticed_in_the_middle_of_sending_predictions(mortal, slow):
    """More messages than ZeroMQ queues: without an eye on the lifeline the client would wait for ever."""
    client = mortal.open(slow)
    mortal.processes()

    def predictions():
        for number in range(100_000):
            if number == 10:
                psutil.Process(mortal.server.pid).suspend()
            if number == 20:
                mortal.server.kill()
            yield {}

    with pytest.raises(ServerGone):
        client.evaluate(predictions(), [])
    wait_for(lambda: not mortal.survivors(), 2)


def test_the_death_of_the_nursery_in_the_middle_of_an_evaluation_is_not_the_metrics_fault(cluster, photos):
    config = config_of(photos, custom_imports={"imports": ["tests.chaos.counting_metric"]})
    client = cluster.open(config)
    with ThreadPoolExecutor(1) as thread:
        metrics = thread.submit(client.evaluate, [PREDICTIONS], [{"type": "Counting", "seconds": 1.5}])
        killed = []
        for _ in range(3):
            fresh = wait_for(lambda: [nursery for nursery in cluster.nurseries() if nursery not in killed], 10)[0]
            wait_for(lambda nursery=fresh: len(nursery.children()) == 3, 10)  # two workers and the evaluator
            fresh.kill()
            killed.append(fresh)
        assert metrics.result(20) == {"images": 1}
