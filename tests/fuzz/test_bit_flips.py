"""Ten thousand bits flipped, one at a time, in what a client of a real server is given: in the shared memory itself and
in the BATCH messages. Every one is noticed before a byte of the batch is used."""

import random
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from shared.arena import SlotCorrupted
from shared.layout import Layout
from tests.cluster import Cluster, arena_of
from tests.photos import config_of

FLIPS = 10_000
SHARE = {"payload": 0.4, "header": 0.2, "slot": 0.1, "generation": 0.1, "step": 0.1, "digest": 0.1}


@pytest.mark.parametrize("place", SHARE)
def test_every_flipped_bit_is_noticed(cluster: Cluster, photos: Path, place: str) -> None:
    client = cluster.open(config_of(photos))
    arena = arena_of(cluster, client)
    batch = client.next()._message
    used = Layout.from_wire(batch.layout, arena.capacity).nbytes
    chance = random.Random(f"flips in {place}")
    for _ in range(int(FLIPS * SHARE[place])):
        if place in ("payload", "header"):
            bits = arena.payload(batch.slot)[:used] if place == "payload" else arena.header(batch.slot)
            byte, mask = chance.randrange(len(bits)), 1 << chance.randrange(8)
            bits[byte] ^= mask
            received = batch
        else:
            received = replace(batch, **{place: getattr(batch, place) ^ 1 << chance.randrange(64)})
        client._waiting.appendleft(received)
        with pytest.raises(SlotCorrupted):
            client.next()
        if received is batch:
            bits[byte] ^= mask
    client._waiting.appendleft(batch)
    assert client.next().digest == batch.digest  # nothing but the flips was wrong


def test_a_layout_with_a_flipped_bit_is_noticed(cluster: Cluster, photos: Path) -> None:
    client = cluster.open(config_of(photos))
    batch = client.next()._message
    chance = random.Random("flips in the layout")
    for _ in range(1000):
        rows = msgpack.unpackb(batch.layout)
        row = chance.choice(rows)
        match chance.randrange(4):
            case 0 | 1 as text:
                letters = bytearray(row[text].encode())
                letters[chance.randrange(len(letters))] ^= 1 << chance.randrange(7)
                row[text] = letters.decode()
            case 2:
                row[2][chance.randrange(len(row[2]))] ^= 1 << chance.randrange(64)
            case _:
                row[3] ^= 1 << chance.randrange(64)
        client._waiting.appendleft(replace(batch, layout=msgpack.packb(rows)))
        with pytest.raises(SlotCorrupted):
            client.next()
