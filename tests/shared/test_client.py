"""The client against a real server: opening, leases, the end of a stream, evaluation, what it says when refused."""

import gc
import os
import select
import signal
import threading
import time
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from shared.address import Address
from shared.client import ServerGone, SlotCorrupted, StreamClient, StreamFailed
from shared.errors import UserError
from shared.messages import PROTOCOL_VERSION, Evaluate, Hello, Release
from tests.cluster import Cluster, arena_of, digests, wait_for
from tests.photos import CLASSES, TRAIN_PIPELINE, config_of

TRAINING_IMAGES = 11
STEPS = 6  # four wide batches (seven wide images with boxes and a crowd) and two high ones


@pytest.fixture
def client(cluster, photos):
    return cluster.open(config_of(photos))


def test_a_welcome_says_what_the_stream_is(client):
    welcome = client.welcome
    assert (welcome.classes, welcome.images, welcome.steps_per_epoch) == ([CLASSES], TRAINING_IMAGES, STEPS)
    assert welcome.slots == 5 and welcome.plan.startswith("5 slots x")


def test_batches_come_in_step_order_over_the_ends_of_epochs(client):
    leases = []
    for _ in range(2 * STEPS + 1):
        leases.append(client.next())
        leases[-1].release()
    assert [lease.step for lease in leases] == list(range(2 * STEPS + 1))
    assert [lease.epoch for lease in leases] == [0] * STEPS + [1] * STEPS + [2]


def test_a_leases_arrays_are_read_only_and_gone_after_its_release(client):
    lease = client.next()
    arrays = lease.arrays
    with pytest.raises(ValueError, match="read-only"):
        arrays["images"][0] = 0
    lease.release()
    assert not arrays
    with pytest.raises(ValueError, match="the batch of step 0 has been released"):
        _ = lease.arrays
    with pytest.raises(ValueError, match="has been released"):
        lease.release()


def test_a_client_that_returns_nothing_gets_no_more_than_its_credits(cluster, photos):
    client = cluster.open(config_of(photos), credits=3)
    leases = [client.next() for _ in range(3)]
    time.sleep(0.5)
    assert not select.select([client._lifeline], [], [], 0)[0]
    leases[1].release()
    assert client.next().step == 3


def test_all_slots_come_back_into_use(client):
    slots = set()
    for _ in range(20):
        lease = client.next()
        slots.add(lease._message.slot)
        lease.release()
    assert slots <= set(range(client.welcome.slots)) and client.next().step == 20


def test_a_batch_that_is_not_what_its_message_says_is_noticed(client):
    batch = client.next()._message
    client._waiting.appendleft(replace(batch, digest=batch.digest ^ 1))
    with pytest.raises(SlotCorrupted, match="slot"):
        client.next()
    client._waiting.appendleft(replace(batch, layout=msgpack.packb([["images", "uint8", [1 << 30], 0]])))
    with pytest.raises(SlotCorrupted, match="step 0: the arrays end at byte"):
        client.next()


def flip_a_bit(cluster, client, lease):
    """Flips one in the middle of the batch that `lease` is of."""
    payload = arena_of(cluster, client).payload(lease._message.slot)
    payload[lease.layout.nbytes // 2] ^= 1


def test_a_batch_that_was_not_checked_at_once_is_checked_before_it_is_used(cluster, client):
    for use in (lambda lease: lease.arrays, lambda lease: lease.copy({}), lambda lease: lease.check()):
        lease = client.next(check=False)
        flip_a_bit(cluster, client, lease)
        with pytest.raises(SlotCorrupted, match=f"the payload of step {lease.step} in slot"):
            use(lease)
        flip_a_bit(cluster, client, lease)
        use(lease)
        lease.release()


def test_a_copy_has_the_bytes_of_the_batch_and_is_not_to_be_had_after_its_release(client):
    lease = client.next(check=False)
    private = np.zeros(client.welcome.slot_bytes, np.uint8)
    copies = lease.layout.views(private)
    lease.copy(copies)
    assert all((copies[name] == array).all() for name, array in lease.arrays.items()) and copies["images"].any()
    lease.release()
    with pytest.raises(ValueError, match="has been released"):
        lease.copy(copies)


def test_without_checksums_batches_have_the_same_bytes_and_stale_slots_are_noticed(cluster, photos):
    checked, unchecked = (cluster.open(config_of(photos, feed={"checksum": checksum})) for checksum in (True, False))
    assert digests(unchecked, 3) == digests(checked, 3)
    lease = unchecked.next()
    assert lease.digest == 0 and checked.next().digest != 0
    batch = lease._message
    unchecked._waiting.appendleft(replace(batch, generation=batch.generation + 1))
    with pytest.raises(SlotCorrupted, match="the header of slot"):
        unchecked.next()


def test_a_validation_stream_is_in_order_marks_padding_and_ends(cluster, photos):
    client = cluster.open(config_of(photos, "val", batch_size=5), epochs=1)
    seen, valid = [], []
    while (lease := client.next()) is not None:
        seen += lease.arrays["image_ids"].tolist()[: lease.valid]
        valid.append(lease.valid)
        lease.release()
    assert seen == list(range(100, 112))
    assert valid == [5, 5, 2]


def test_a_stream_resumed_at_any_step_has_the_same_bytes(cluster, photos):
    config = config_of(photos)
    whole = cluster.open(config)
    expected = digests(whole, 2 * STEPS)
    whole.close()
    for epoch, step in ((0, 4), (1, 2), (0, STEPS + 3)):
        resumed = cluster.open(config, epoch=epoch, step=step)
        first = epoch * STEPS + step
        assert digests(resumed, 2 * STEPS - first) == expected[first:]
        resumed.close()


def test_another_seed_is_another_stream(cluster, photos):
    streams = [cluster.open(config_of(photos), seed=seed) for seed in (1, 2)]
    first, second = (digests(stream, 3) for stream in streams)
    assert not set(first) & set(second)


def test_the_ranks_of_one_job_see_different_batches_of_one_epoch(cluster, photos):
    ranks = [cluster.open(config_of(photos), rank=rank, world_size=2, epochs=1) for rank in range(2)]
    images = []
    for client in ranks:
        while (lease := client.next()) is not None:
            images += lease.arrays["image_ids"].tolist()
            lease.release()
    assert len(set(images)) == TRAINING_IMAGES and len(images) == 2 * STEPS


def test_predictions_too_large_for_a_frame_are_refused_at_once(client):
    with pytest.raises(ValueError, match="the limit is"):
        client.evaluate([{"boxes": np.zeros((1 << 25, 4), np.float32)}], [])


def test_a_server_of_another_protocol_version_is_a_users_error(cluster, photos, monkeypatch):
    monkeypatch.setattr("shared.client.PROTOCOL_VERSION", 99)
    with pytest.raises(
        UserError, match=f"speaks protocol {PROTOCOL_VERSION}, the trainer 99; install the same version on both sides"
    ):
        cluster.open(config_of(photos))


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ({"rank": 2, "world_size": 2}, "rank=2, world_size=2: expected .* a rank below world_size"),
        ({"world_size": 0}, "world_size=0"),
        ({"credits": 0}, "expected at least one credit"),
    ],
)
def test_a_hello_that_makes_no_sense_is_refused(cluster, photos, hello, said):
    with pytest.raises(UserError, match=said):
        cluster.open(config_of(photos), **hello)


def test_nobody_at_the_address_is_said_at_once(tmp_path):
    with pytest.raises(ServerGone, match=f"no data server answers at ipc://{tmp_path}/d: No such file"):
        StreamClient(Address(f"ipc://{tmp_path}/d"), Hello("train", {}, 0, 0, 1, 0, 0, 0, 1))


def test_two_trainers_at_once_have_a_stream_each(cluster, photos):
    configs = [config_of(photos), config_of(photos, batch_size=3)]
    alone = []
    for config in configs:
        client = cluster.open(config)
        alone.append(digests(client, 8))
        client.close()
    clients = [cluster.open(config) for config in configs]
    together = [[], []]
    for _ in range(8):
        for number, client in enumerate(clients):
            together[number] += digests(client, 1)
    assert together == alone
    assert len(cluster.workers()) == 4


def test_a_closed_stream_leaves_no_process_and_no_descriptor_behind(cluster, photos):
    def rounds(count):
        for _ in range(count):
            client = cluster.open(config_of(photos))
            digests(client, 2)
            client.close()
        wait_for(cluster.is_idle, 2)
        gc.collect()
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (cluster.server.pid, cluster.root().pid, os.getpid())]

    assert rounds(3) == rounds(10)


def test_closing_twice_is_closing_once(cluster, photos):
    client = cluster.open(config_of(photos))
    client.close()
    client.close()


def test_a_client_that_breaks_the_protocol_loses_its_stream_and_hears_why(cluster, photos):
    for wrong in (Release(0, 99), Evaluate([])):
        client, other = cluster.open(config_of(photos, "val")), cluster.open(config_of(photos))
        say = client.tell if isinstance(wrong, Release) else client.send
        with pytest.raises(StreamFailed, match=r"protocol error: (slot 0 is|EVALUATE before the METRICS of another)"):
            for _ in range(50):  # one EVALUATE may have been answered when the next comes, but not all of them
                say(wrong)
            while True:
                client.next()
        assert digests(other, 2)


@pytest.mark.parametrize("then", ["replace", "stop"])
def test_what_a_server_says_reaches_nobody_with_a_control_character(cluster, photos, then):
    steps = (*TRAIN_PIPELINE[:-1], {"type": "Shouting"}, TRAIN_PIPELINE[-1])
    imports = {"imports": ["tests.data_server.transforms"]}
    client = cluster.open(config_of(photos, pipeline=steps, custom_imports=imports, feed={"on_bad_sample": then}))
    if then == "stop":
        with pytest.raises(UserError) as raised:
            digests(client, 12)
        said = [str(raised.value)]
    else:
        digests(client, 12)
        said = cluster.notices
    assert said and all(
        r"03.jpg': the pipeline fails on it: ValueError: \x1b[2J\x07 all is well" in one for one in said
    )
    assert all(line.isprintable() for line in cluster.log.splitlines())


def test_a_server_that_dies_while_there_is_no_room_in_its_queue_is_not_waited_for(photos):
    own = Cluster()
    client = own.open(config_of(photos, "val"))
    own.server.send_signal(signal.SIGSTOP)
    death = threading.Timer(2, own.server.kill)
    death.start()
    with pytest.raises(ServerGone):
        while True:
            client.send(Evaluate([]))
    death.join()
    own.stop()
