"""A trainer as its stream sees it."""

import os
import socket

import pytest

from data_server.handover.predictions import read
from data_server.serving.client import Client
from shared.channel import Channel, ChannelClosed
from shared.digest import rolled
from shared.messages import Batch, EndOfStream, MessageError, Predictions


@pytest.fixture
def ends():
    pair = socket.socketpair()
    pair[0].setblocking(False)
    ours, theirs = map(Channel, pair)
    yield Client(b"x" * 16, ours, ""), theirs
    ours.close()
    theirs.close()


def test_what_it_is_told_arrives_and_its_digest_follows_what_it_is_given(ends) -> None:
    client, theirs = ends
    batches = [Batch(0, step, 0, 1, b"", 100 + step, 2) for step in range(2)]
    for batch in batches:
        client.tell(batch)
        client.was_given(batch)
    assert [theirs.receive(Batch) for _ in batches] == batches
    assert client.digest == rolled(rolled("", 0, 100, 2), 1, 101, 2) and not client.deaf
    assert client.identity == b"x" * 16 and not client.ended


def test_one_that_reads_nothing_is_deaf_in_the_end_and_not_before(ends) -> None:
    client, _ = ends
    for _ in range(100_000):
        assert not client.deaf
        client.tell(EndOfStream("x" * 1000))
        if client.deaf:
            break
    assert client.deaf


def test_a_dead_one_hears_nothing_and_that_is_no_error(ends) -> None:
    client, theirs = ends
    theirs.close()
    client.tell(EndOfStream(""))
    assert not client.deaf


@pytest.mark.parametrize("frames", [[], [b"", b""]])
def test_predictions_come_with_one_frame(ends, frames: list[bytes]) -> None:
    with pytest.raises(MessageError, match=f"PREDICTIONS come with one frame, not {len(frames)}"):
        ends[0].keep(Predictions(b""), frames)


def test_predictions_that_are_taken_are_the_takers_and_new_ones_are_kept_apart(ends) -> None:
    client, _ = ends
    client.keep(Predictions(b""), [b"first"])
    taken = client.take_predictions()
    assert read(os.dup(client.take_predictions().descriptor)) == []
    client.leave()
    assert [(layout, bytes(payload)) for layout, payload in read(os.dup(taken.descriptor))] == [(b"", b"first")]
    taken.close()


def test_when_it_leaves_its_lifeline_is_closed(ends) -> None:
    client, theirs = ends
    before = len(os.listdir("/proc/self/fd"))
    client.keep(Predictions(b""), [b"some"])
    client.leave()
    with pytest.raises(ChannelClosed):
        theirs.receive(EndOfStream)
    assert len(os.listdir("/proc/self/fd")) < before
