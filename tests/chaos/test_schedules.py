"""One digest, for any number of workers, whatever is killed and when, wherever the stream is resumed."""

from __future__ import annotations

import random
from collections.abc import Callable

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chaos.lives import undisturbed
from tests.cluster import Cluster, wait_for
from tests.photos import TRAIN_PIPELINE, config_of

EPOCHS = 4
RESUMES = 20
SLOTS = 5
VICTIMS: dict[str, Callable[[Cluster], list[psutil.Process]]] = {
    "a worker": lambda cluster: wait_for(cluster.workers, 20)[:1],
    "all workers": Cluster.workers,
    "the stream's nursery": Cluster.nurseries,
}


@pytest.fixture(scope="module")
def slow(photos):
    """A stream whose workers are always met at work."""
    pipeline = (*TRAIN_PIPELINE[:-1], {"type": "Slow"}, TRAIN_PIPELINE[-1])
    return config_of(photos, pipeline=pipeline, custom_imports={"imports": ["tests.data_server.transforms"]})


@pytest.fixture(scope="module")
def known(long_lived_cluster, photos):
    """The same stream made fast: what `Slow` does shows in no byte."""
    return undisturbed(long_lived_cluster, config_of(photos), EPOCHS)


def digest_under(cluster: Cluster, config: dict, schedule: list[tuple[int, str]]) -> str:
    """The digest of a stream; each victim of `schedule` is killed after so many more batches."""
    client = cluster.open(config, epochs=EPOCHS)
    try:
        for batches, victim in schedule:
            for _ in range(batches):
                client.next().release()
            for process in VICTIMS[victim](cluster):
                process.kill()
        while (lease := client.next()) is not None:
            lease.release()
        return client.digest
    finally:
        client.close()


# No more than twice in a row before a batch has been made anew: a third time would end the stream, as it should.
schedules = st.lists(st.tuples(st.integers(SLOTS + 1, SLOTS + 2), st.sampled_from(sorted(VICTIMS))), max_size=3)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(schedule=schedules)
def test_no_schedule_of_kills_changes_the_digest(cluster, slow, known, schedule):
    wait_for(cluster.is_idle, 2)
    assert digest_under(cluster, slow, schedule) == known.digests[-1]


@pytest.mark.parametrize("workers", [1, 4])
def test_no_number_of_workers_changes_the_digest_of_a_stream_with_kills(slow, known, workers):
    cluster = Cluster(workers)
    try:
        schedule = [(2, "a worker"), (1, "all workers"), (3, "the stream's nursery")]
        assert digest_under(cluster, slow, schedule) == known.digests[-1]
    finally:
        cluster.stop()


def test_a_stream_taken_up_at_any_step_comes_to_the_same_digest(cluster, photos, known):
    steps = random.Random(7).sample(range(1, len(known.digests)), RESUMES)
    for step in steps:
        client = cluster.open(
            config_of(photos, feed={"linger_seconds": 0}),
            **{"epochs": EPOCHS, "step": step, "digest": known.digests[step - 1]},
        )
        while (lease := client.next()) is not None:
            lease.release()
        assert client.digest == known.digests[-1], step
        client.close()


def test_a_digest_that_belongs_to_another_step_comes_to_another_one(cluster, photos, known):
    client = cluster.open(config_of(photos), epochs=EPOCHS, step=3, digest=known.digests[3])
    while (lease := client.next()) is not None:
        lease.release()
    assert client.digest != known.digests[-1]
