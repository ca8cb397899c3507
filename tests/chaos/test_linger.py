"""A stream that outlives its trainer: who may take it over, where, and until when."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import psutil
import pytest

from shared.client import StreamClient
from shared.errors import UserError
from shared.messages import MessageError
from tests.chaos.lives import Trainer, undisturbed
from tests.chaos.reader import PREDICTIONS, predictions_of
from tests.cluster import Cluster, wait_for
from tests.photos import TRAIN_PIPELINE, config_of

EPOCHS = 3
READ, CHECKPOINT = 5, 4
SEEDS = itertools.count(100)  # each test has streams of its own, so none is offered what another has left behind


@pytest.fixture(scope="module")
def own_server() -> Iterator[Cluster]:
    server = Cluster()
    yield server
    server.stop()


@pytest.fixture
def server(own_server: Cluster) -> Iterator[Cluster]:
    yield own_server
    own_server.close_streams()


@pytest.fixture
def config(photos):
    return config_of(photos, feed={"linger_seconds": 30})


def read(client: StreamClient, steps: int) -> None:
    for _ in range(steps):
        client.next().release()


def abandon(client: StreamClient) -> None:
    """Drops all the client has, as the kernel does for a process that is killed."""
    client._lifeline.close()
    client._lifeline = None
    client._control.close()


def left_behind(server: Cluster, config: dict, **hello: int) -> None:
    """A stream whose trainer died at step READ, with its last checkpoint at step CHECKPOINT."""
    deaths = server.log.count("the trainer is gone")
    client = server.open(config, **{"epochs": EPOCHS, **hello})
    read(client, CHECKPOINT)
    client.checkpointed(0, CHECKPOINT)
    read(client, READ - CHECKPOINT)
    abandon(client)
    server._clients.remove(client)
    wait_for(lambda: server.log.count("the trainer is gone") > deaths, 2)


def taken_over(server: Cluster, client: StreamClient) -> bool:
    return f"taken over by {client._identity.hex()[:6]} at step" in server.log


def wait_until_idle(processes: list[psutil.Process]) -> None:
    """Waits until none of them has anything to do: who only waits for a processor is not asleep."""
    in_a_row = 0
    while in_a_row < 10:
        asleep = all(process.status() == psutil.STATUS_SLEEPING for process in processes)
        in_a_row = in_a_row + 1 if asleep else 0
        time.sleep(0.02)


def test_the_batches_after_the_last_checkpoint_wait_for_the_next_trainer_although_no_worker_works(server, config):
    seed = next(SEEDS)
    whole = undisturbed(server, config, EPOCHS, seed=seed)
    left_behind(server, config, seed=seed)
    workers = server.workers()
    wait_until_idle([psutil.Process(server.server.pid), *workers])
    for worker in workers:
        worker.suspend()
    client = server.open(config, epochs=EPOCHS, seed=seed, step=CHECKPOINT, digest=whole.digests[CHECKPOINT - 1])
    read(client, client.welcome.slots)
    for worker in workers:
        worker.resume()
    read(client, len(whole.digests) - CHECKPOINT - client.welcome.slots)
    assert client.digest == whole.digests[-1] and client.next() is None
    assert taken_over(server, client)


@pytest.mark.parametrize("step", [0, 2, READ, READ + 1, CHECKPOINT + 5, 3 * READ])
def test_a_trainer_with_another_checkpoint_takes_the_stream_over_at_its_own_step(server, config, step):
    seed = next(SEEDS)
    whole = undisturbed(server, config, EPOCHS, seed=seed)
    left_behind(server, config, seed=seed)
    nurseries = server.nurseries()
    digest = whole.digests[step - 1] if step else ""
    client = server.open(config, epochs=EPOCHS, seed=seed, step=step, digest=digest)
    assert taken_over(server, client) and server.nurseries() == nurseries
    read(client, len(whole.digests) - step)
    assert client.digest == whole.digests[-1] and client.next() is None


def test_a_stream_is_taken_over_again_and_again(server, config):
    seed = next(SEEDS)
    whole = undisturbed(server, config, EPOCHS, seed=seed)
    left_behind(server, config, seed=seed)
    nurseries = server.nurseries()
    for _ in range(5):
        client = server.open(config, epochs=EPOCHS, seed=seed)
        read(client, READ)
        abandon(client)
        server._clients.remove(client)
        time.sleep(0.05)
    client = server.open(config, epochs=EPOCHS, seed=seed)
    assert server.nurseries() == nurseries
    read(client, len(whole.digests))
    assert client.digest == whole.digests[-1] and client.next() is None


SMALLER = ({**step, **({"scale": (96, 64)} if step["type"] == "Resize" else {})} for step in TRAIN_PIPELINE)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 3}, {}),
        ({"pipeline": tuple(SMALLER)}, {}),
        ({}, {"epochs": 2}),
        ({}, {"seed": 1}),
        ({}, {"credits": 3}),
        ({}, {"rank": 1}),
    ],
)
def test_a_trainer_of_another_stream_gets_its_own(server, photos, config, settings, words):
    hello = {"seed": next(SEEDS), "world_size": 2, "epochs": EPOCHS}
    left_behind(server, config, **hello)
    other, words = config_of(photos, feed={"linger_seconds": 30}, **settings), {**hello, **words}
    client = server.open(other, **words)
    assert not taken_over(server, client)
    while (lease := client.next()) is not None:
        lease.release()
    client.close()
    assert client.digest == undisturbed(server, other, **words).digests[-1]


def test_nobody_takes_over_a_stream_whose_time_is_over(server, photos):
    config = config_of(photos, feed={"linger_seconds": 0.5})
    seed = next(SEEDS)
    left_behind(server, config, seed=seed)
    nursery = server.nurseries()[-1]
    assert nursery.is_running()
    wait_for(lambda: not nursery.is_running(), 3)
    client = server.open(config, epochs=EPOCHS, seed=seed)
    assert not taken_over(server, client)
    read(client, READ)


def test_a_stream_that_was_taken_over_in_time_does_not_end_when_that_time_is_over(server, photos):
    config = config_of(photos, feed={"linger_seconds": 1.0})
    seed = next(SEEDS)
    left_behind(server, config, seed=seed)
    client = server.open(config, epochs=EPOCHS, seed=seed)
    assert taken_over(server, client)
    time.sleep(1.5)
    read(client, READ)


def test_a_stream_that_nobody_reads_gives_its_memory_to_one_that_is_wanted(server, photos, config):
    reading = server.open(config, seed=next(SEEDS))
    left_behind(server, config, seed=next(SEEDS))
    nurseries = server.nurseries()
    with pytest.raises(UserError, match="too little memory"):
        server.open(config_of(photos, feed={"slots": 10_000_000}), seed=next(SEEDS))
    wait_for(lambda: len(server.nurseries()) == 1, 2)
    assert server.nurseries()[0] in nurseries
    read(reading, READ)


def counting(photos):
    imports = {"imports": ["tests.chaos.counting_metric"]}
    return config_of(photos, feed={"linger_seconds": 30}, custom_imports=imports)


def test_a_trainer_gets_no_metrics_of_an_evaluation_that_the_one_before_it_died_in(server, photos, tmp_path):
    config = counting(photos)
    known = undisturbed(server, config, EPOCHS)
    slowly = Trainer(tmp_path / "trainer", config, known, evaluator=({"type": "Counting", "seconds": 2.0},))
    wait_for(server.is_idle, 5)
    process = slowly.start(server.address.text)
    wait_for(lambda: len(server.workers()) == 3, 20)  # two, and the evaluator
    process.kill()
    process.wait()
    client = server.open(config, epochs=EPOCHS, step=len(known.digests), digest=known.digests[-1])
    assert taken_over(server, client) and client.next() is None
    others = [predictions_of(image) for image in (1, 2, 3)]  # an image is judged once, so these are not the first one's
    assert client.evaluate(others[:2], [{"type": "Counting"}]) == {"images": 2}
    time.sleep(2)  # the metrics that nobody waits for are there by now
    assert client.evaluate(others, [{"type": "Counting"}]) == {"images": 3}


def test_predictions_of_a_trainer_that_died_before_it_asked_for_metrics_do_not_count(server, photos):
    config = counting(photos)
    seed = next(SEEDS)
    dying = server.open(config, epochs=EPOCHS, seed=seed)
    with pytest.raises(MessageError, match="something other than plain data"):
        dying.evaluate([PREDICTIONS], [object()])
    read(dying, 2 + 1)  # with more than its credits: the server has heard its release, and the predictions before that
    abandon(dying)
    server._clients.remove(dying)
    client = server.open(config, epochs=EPOCHS, seed=seed)
    assert taken_over(server, client)
    assert client.evaluate([predictions_of(1), predictions_of(2)], [{"type": "Counting"}]) == {"images": 2}
