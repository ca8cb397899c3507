"""A running server among strangers: its client next door notices nothing, and nothing of them stays."""

import os
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_server.machine.kills import out_of_memory_kills
from shared.codec import encode
from shared.messages import MAX_MESSAGE_BYTES, Checkpointed, Welcome
from tests.cluster import Cluster, digests, wait_for
from tests.fuzz.strangers import Stranger, good_hello, misbehave
from tests.photos import config_of

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", 50))
SEED = int(os.environ.get("FUZZ_SEED", 1))
EVERY = 5  # a batch is taken next door after so many strangers
AUDIT = Path(__file__).with_name("audit")


@pytest.fixture
def own() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.stop()


def descriptors(cluster: Cluster) -> int:
    return len(os.listdir(f"/proc/{cluster.server.pid}/fd"))


def test_strangers_change_no_byte_next_door_and_leave_nothing(own: Cluster, photos: Path) -> None:
    config = config_of(photos)
    undisturbed = digests(own.open(config), ROUNDS // EVERY)
    own.close_streams()
    wait_for(own.is_idle, 2)
    before, starved = descriptors(own), out_of_memory_kills()
    client = own.open(config)
    chance, found = random.Random(SEED), []
    for number in range(ROUNDS):
        way = misbehave(chance, own.address, config)
        assert own.server.poll() is None, f"the server died in round {number}: a stranger {way}; {own.log[-2000:]}"
        if number % EVERY == EVERY - 1:
            found += digests(client, 1)
    assert found == undisturbed
    assert out_of_memory_kills() == starved, "a stranger was given more memory than the machine has"
    own.close_streams()
    wait_for(own.is_idle, 5)
    wait_for(lambda: descriptors(own) <= before, 5)
    assert "Traceback" not in own.log, own.log


@pytest.fixture
def stranger(cluster: Cluster, photos: Path) -> Iterator[Stranger]:
    stranger = Stranger(cluster.address, random.Random(SEED), config_of(photos))
    stranger.hail()
    yield stranger
    stranger.leave()


def with_feed(config: dict, **feed) -> dict:
    return {**config, "feed": {**config["feed"], **feed}}


# Each of these has ended or stopped a whole server once.
DEADLY = {
    "an epoch that no step number can be counted from": ({}, {"epoch": 2**64 - 1}, "expected numbers below"),
    "a tuple that is none": ({"max_image_size": {"(tuple)": 5}}, {}, "feed.max_image_size"),
    "a timer beyond the end of time": ({"linger_seconds": 1e300}, {}, "feed.linger_seconds"),
}


@pytest.mark.parametrize("kind", DEADLY)
def test_a_hello_is_refused_that_holds(cluster: Cluster, photos: Path, stranger: Stranger, kind: str) -> None:
    feed, fields, said = DEADLY[kind]
    stranger.say(encode(good_hello(with_feed(config_of(photos), **feed), **fields)))
    assert said in stranger.hear().text
    assert digests(cluster.open(config_of(photos)), 1)


def test_a_refusal_that_quotes_megabytes_and_is_never_read_holds_nobody_up(
    cluster: Cluster, photos: Path, stranger: Stranger
) -> None:
    stranger.say(encode(good_hello({**config_of(photos), "split": ["x" * 60_000] * 16})))
    assert digests(cluster.open(config_of(photos)), 1)


def test_a_checkpoint_that_no_step_number_can_be_counted_from_ends_the_stream(
    cluster: Cluster, photos: Path, stranger: Stranger
) -> None:
    stranger.say(encode(good_hello(config_of(photos))))
    assert isinstance(stranger.hear(), Welcome)
    stranger.lifeline.send(Checkpointed(2**64 - 1, 0))
    assert stranger.hear().text == f"protocol error: CHECKPOINTED at epoch {2**64 - 1}, step 0"
    assert digests(cluster.open(config_of(photos)), 1)


def test_descriptors_that_nobody_asked_for_do_not_pile_up(cluster: Cluster) -> None:
    before = descriptors(cluster)
    stranger = Stranger(cluster.address, random.Random(SEED), {})
    stranger.shout(struct.pack("<I", MAX_MESSAGE_BYTES))
    for _ in range(100):
        stranger.shout(b"\x00", 0, 0, 0)
    time.sleep(0.2)
    assert descriptors(cluster) <= before + 1  # the control channel
    stranger.leave()
    wait_for(lambda: descriptors(cluster) <= before, 2)


def test_the_server_unpickles_nothing_while_it_streams_and_evaluates(photos: Path, tmp_path: Path) -> None:
    seen = tmp_path / "unpickled"
    launcher = ("env", f"PYTHONPATH={AUDIT}", f"AUDIT_FILE={seen}", "CUDA_VISIBLE_DEVICES=")
    audited = Cluster(launcher=launcher)
    digests(audited.open(config_of(photos)), 8)
    client = audited.open(config_of(photos, "val"), epochs=1)
    while (lease := client.next()) is not None:
        lease.release()
    assert client.evaluate([predictions(range(100, 112))], [{"type": "CocoMetric", "metric": "bbox"}])
    assert seen.read_text() == f"{audited.server.pid} ('os', 'getpid')\n"  # what the hook tried itself with
    audited.stop()


def predictions(image_ids: range) -> dict[str, np.ndarray]:
    """One box in each image."""
    images = len(image_ids)
    return {
        "image_ids": np.array(image_ids, np.int64),
        "counts": np.ones(images, np.int32),
        "original_shapes": np.full((images, 2), 60, np.int32),
        "boxes": np.tile(np.array([[5, 5, 30, 30]], np.float32), (images, 1)),
        "scores": np.full(images, 0.5, np.float32),
        "labels": np.zeros(images, np.int32),
    }
