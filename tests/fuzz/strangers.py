"""Clients of a running data server that do everything wrong, one way each; all of them leave in the end.

A stranger comes with both sockets of a client, speaks as it likes and never waits long for an answer.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from collections.abc import Callable
from typing import Any

import zmq

from shared.address import Address
from shared.channel import Channel, ChannelClosed
from shared.codec import encode
from shared.messages import (
    PROTOCOL_VERSION,
    Batch,
    Checkpointed,
    EndOfStream,
    Evaluate,
    Failure,
    Hail,
    Hello,
    Message,
    MessageError,
    Predictions,
    Ready,
    Release,
    Welcome,
)
from tests.fuzz.targets import TARGETS, example

_NUMBERS = (0, 1, 2, 2**32, 2**40, 2**63, 2**64 - 1)  # nothing that could be had and would take long to allocate
_PATIENCE = 5.0


class Stranger:
    """Both sockets of a client of the server at `address`. `chance` decides what it does, `config` is the data part of
    a good HELLO."""

    def __init__(self, address: Address, chance: random.Random, config: dict[str, Any]) -> None:
        self.address = address
        self.chance = chance
        self.config = config
        self.identity = b"\x01" + os.urandom(15)
        self.lifeline = Channel(socket.socket(socket.AF_UNIX))
        self.lifeline.socket.connect(address.lifeline)
        self.lifeline.socket.settimeout(_PATIENCE)
        self.control = zmq.Context.instance().socket(zmq.DEALER)
        self.control.setsockopt(zmq.LINGER, 100)
        self.control.setsockopt(zmq.SNDTIMEO, 50)
        self.control.setsockopt(zmq.IDENTITY, self.identity)
        self.control.bind(address.control(self.identity))

    def hail(self) -> None:
        self.lifeline.send(Hail(PROTOCOL_VERSION, self.identity))
        self.lifeline.receive(Ready)

    def say(self, *frames: bytes) -> None:
        with contextlib.suppress(zmq.Again):  # nobody listens to one who has not hailed
            self.control.send_multipart(frames)

    def shout(self, data: bytes, *descriptors: int) -> None:
        """Bytes as they are, on the lifeline."""
        with contextlib.suppress(OSError):
            socket.send_fds(self.lifeline.socket, [data], list(descriptors))

    def hear(self) -> Message | None:
        """What the server says on the lifeline; None when it closes it."""
        with contextlib.suppress(ChannelClosed):
            return self.lifeline.receive(Welcome, Batch, EndOfStream, Failure)

    def leave(self) -> None:
        self.control.close()
        self.lifeline.close()


def misbehave(chance: random.Random, address: Address, config: dict[str, Any]) -> str:
    """One stranger's visit. Returns what it did."""
    stranger = Stranger(address, chance, config)
    way = chance.choice(WAYS)
    try:
        way(stranger)
    except (ChannelClosed, MessageError):
        pass  # the server has had enough
    finally:
        stranger.leave()
    return way.__name__


def says_nothing(_: Stranger) -> None:
    pass


def shouts_wrong_frames(stranger: Stranger) -> None:
    chance = stranger.chance
    for _ in range(chance.randint(1, 3)):
        stranger.shout(TARGETS["channel"].draw(chance)[1:])


def hails_in_pieces(stranger: Stranger) -> None:
    chance = stranger.chance
    data = encode(Hail(PROTOCOL_VERSION, stranger.identity))
    data = struct.pack("<I", len(data)) + data
    cut = chance.randrange(1, len(data))
    stranger.shout(data[:cut])
    if chance.random() < 0.5:
        stranger.shout(data[cut:])
        stranger.lifeline.receive(Ready)
        stranger.shout(os.urandom(chance.randint(1, 100)))


def sends_descriptors(stranger: Stranger) -> None:
    chance = stranger.chance
    reader, writer = os.pipe()
    if chance.random() < 0.3:
        stranger.hail()
    for _ in range(chance.randint(1, 40)):
        stranger.shout(b"\x00", *[reader, writer, 0][: chance.randint(1, 3)])
    os.close(reader)
    os.close(writer)


def takes_anothers_name(stranger: Stranger) -> None:
    stranger.hail()
    double = Stranger(stranger.address, stranger.chance, stranger.config)
    double.identity = stranger.identity
    try:
        double.hail()
    finally:
        double.leave()


def speaks_without_a_hail(stranger: Stranger) -> None:
    chance = stranger.chance
    for _ in range(chance.randint(1, 5)):
        stranger.say(*_frames(chance))


def speaks_in_the_wrong_order(stranger: Stranger) -> None:
    chance = stranger.chance
    stranger.hail()
    for _ in range(chance.randint(1, 5)):
        stranger.say(*_frames(chance))
    stranger.hear()


def asks_for_nonsense(stranger: Stranger) -> None:
    chance = stranger.chance
    stranger.hail()
    stranger.say(TARGETS["config"].draw(chance))
    stranger.lifeline.socket.settimeout(0.2)
    stranger.hear()


def asks_for_extremes(stranger: Stranger) -> None:
    """A good HELLO but for a few numbers; some are fine, and a batch or a refusal comes."""
    chance, config = stranger.chance, stranger.config
    fields = ("seed", "rank", "world_size", "epoch", "step", "epochs", "credits")
    values = {name: chance.choice(_NUMBERS) for name in chance.sample(fields, chance.randint(1, 3))}
    if chance.random() < 0.5:
        part = chance.choice(("batch_size", "size_divisor", "slots", "max_boxes", "max_image_size"))
        value = chance.choice(_NUMBERS)
        if part in config:
            config = {**config, part: value}
        else:
            value = {"(tuple)": [value, 64]} if part == "max_image_size" else value
            config = {**config, "feed": {**config["feed"], part: value}}
    stranger.hail()
    stranger.say(encode(good_hello(config, **values)))
    if isinstance(stranger.hear(), Welcome):
        stranger.control.poll(300)


def breaks_the_rules_of_a_stream(stranger: Stranger) -> None:
    chance, config = stranger.chance, stranger.config
    config = {**config, "feed": {**config["feed"], "linger_seconds": chance.choice((0, 0.5))}}
    stranger.hail()
    stranger.say(encode(good_hello(config)))
    if chance.random() < 0.7:
        stranger.hear()
    for _ in range(chance.randint(1, 10)):
        match chance.randrange(6):
            case 5:
                stranger.lifeline.send(Checkpointed(chance.choice(_NUMBERS), chance.choice(_NUMBERS)))
            case 0:
                stranger.lifeline.send(Release(chance.choice(_NUMBERS), chance.choice(_NUMBERS)))
            case 1:
                stranger.say(encode(Predictions([])), *[os.urandom(9)] * chance.randrange(4))
            case 2:
                predictions = TARGETS["predictions"].draw(chance)
                stranger.say(predictions[2 : 2 + int.from_bytes(predictions[:2], "little")], os.urandom(512))
            case 3:
                stranger.say(encode(Evaluate(chance.choice(([], [3], [{}], [{"type": "os.system"}], [[[]]])))))
            case _:
                stranger.say(*_frames(chance))
    stranger.lifeline.socket.settimeout(0.2)
    stranger.hear()


WAYS: tuple[Callable[[Stranger], None], ...] = (
    says_nothing,
    shouts_wrong_frames,
    hails_in_pieces,
    sends_descriptors,
    takes_anothers_name,
    speaks_without_a_hail,
    speaks_in_the_wrong_order,
    asks_for_nonsense,
    asks_for_extremes,
    breaks_the_rules_of_a_stream,
)


def good_hello(config: dict[str, Any], **fields: Any) -> Hello:
    fields = {"seed": 7, "rank": 0, "world_size": 1, "epoch": 0, "step": 0, "epochs": 0, "credits": 2} | fields
    return example(Hello, config=config, **fields)


def _frames(chance: random.Random) -> list[bytes]:
    return [TARGETS["messages"].draw(chance), *[os.urandom(20)] * chance.choice((0, 0, 1, 3))]
