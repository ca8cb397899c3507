"""A stream's HELLO makes sense, or is refused with what does not."""

import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from data_server.handover.facts import DatasetFacts
from data_server.serving.client import Client
from data_server.serving.loop import Loop
from data_server.serving.stream import MAX_CURSOR, Stream, check
from shared.channel import Channel
from shared.errors import UserError
from shared.feed_keys import with_defaults
from shared.layout import Layout
from shared.messages import Assign, Hello, Release, Wrote
from tests.cluster import Cluster, wait_for
from tests.data_server.played import FACTS, go_on
from tests.photos import config_of

CONFIG = config_of(Path("set"))
LAST = MAX_CURSOR - 1
HELLO = Hello("train", CONFIG, seed=0, rank=1, world_size=2, epoch=LAST, step=LAST, epochs=LAST, credits=1)


def test_the_log_says_how_large_a_stream_is(cluster: Cluster, photos: Path) -> None:
    plan = cluster.open(config_of(photos)).welcome.plan
    wait_for(lambda: f": 11 images, 6 steps per epoch, memory plan {plan}, beside " in cluster.log, 2)


class Pool:
    """Notes what is to be made, and with which batches the trainer was kept waiting."""

    started = 2
    far = SimpleNamespace(count=0, most=0)

    def __init__(self) -> None:
        self.orders: list[tuple[int, Assign]] = []
        self.delivered: list[tuple[int, bool]] = []

    def open(self, *_: Any) -> None: ...

    def assign(self, worker: int, order: Assign) -> None:
        self.orders.append((worker, order))

    def note(self, idle: int, *, waited: bool) -> None:
        self.delivered.append((idle, waited))


def test_a_batch_was_waited_for_when_no_worker_was_idle_and_the_trainer_had_credit() -> None:
    pool, loop = Pool(), Loop()
    played = SimpleNamespace(**{name: getattr(pool, name) for name in ("open", "assign", "started", "far")})
    played.delivered = pool.note
    server = Mock(own_bytes=0, last_words="", in_loop=loop.hand_over)
    ours, theirs = socket.socketpair()
    client = Client(b"0" * 16, Channel(ours), "")
    dataset = DatasetFacts(np.ones(100, np.uint8), 1, 0, 32, 32, "", [100], [["a"]])
    config = {**CONFIG, "feed": with_defaults({"slots": 3})}
    stream = Stream(
        server, client, replace(HELLO, config=config, rank=0, world_size=1, epoch=0, step=0), 2, lambda *_: played
    )
    stream._open(client, replace(FACTS, images=100, sizes=[100]), dataset)
    for worker in (0, 1):
        stream.worker_idle(worker)
    while len(pool.orders) < 2:
        go_on(loop)

    def write(number: int) -> None:
        worker, order = pool.orders[number]
        layout = Layout.pack([("image", "uint8", (64,))]).wire
        stream.worker_wrote(worker, Wrote(order.step, order.slot, order.generation, layout, 1, [], 0, 0))
        stream.worker_idle(worker)

    write(0)
    write(1)
    assert pool.delivered == [(0, True)]  # the second waits for credit: the trainer has one batch, and may have no more
    write(2)
    stream.on_lifeline(Release(pool.orders[0][1].slot, 1))
    assert pool.delivered[1:] == [(1, False)]
    theirs.close()


def test_a_hello_at_all_its_bounds_makes_sense() -> None:
    check(HELLO)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"credits": 0}, "credits=0, .*expected at least one credit"),
        ({"rank": 2}, "rank=2, world_size=2: expected at least one credit and a rank below world_size"),
        ({"rank": 0, "world_size": 0}, "world_size=0"),
        ({"epoch": MAX_CURSOR}, rf"epoch={MAX_CURSOR}, .*expected numbers below {MAX_CURSOR}"),
        ({"step": MAX_CURSOR}, rf"step={MAX_CURSOR}, .*expected numbers below {MAX_CURSOR}"),
        ({"epochs": MAX_CURSOR}, rf"epochs={MAX_CURSOR}: expected numbers below {MAX_CURSOR}"),
    ],
)
def test_one_step_beyond_a_bound_it_does_not(change: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check(replace(HELLO, **change))


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("split", None),
        ("dataset", []),
        ("custom_imports", []),
        ("batch_size", 0),
        ("batch_size", True),
        ("size_divisor", 0),
        ("shuffle", 1),
        ("group_by_aspect_ratio", None),
        ("training", "yes"),
        ("source_ratio", [1, "2"]),
        ("source_ratio", [-1]),
        ("feed", None),
        ("feed", {"credits": 1}),
        ("feed", {**with_defaults({}), "credits": 0}),
    ],
)
def test_a_data_part_that_no_trainer_makes_is_refused_by_its_key(key: str, wrong: object) -> None:
    with pytest.raises(UserError, match=f"data part of the config: '{key}'|feed.credits"):
        check(replace(HELLO, config={**CONFIG, key: wrong}))
