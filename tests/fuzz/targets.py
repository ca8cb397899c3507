"""Everything that decodes bytes from another process, one target each: valid frames to begin with, what to do with a
frame, and which errors are documented.

    messages      shared.messages.decode           every message type
    channel       shared.channel.Channel           frames and descriptors on a Unix socket
    layout        shared.layout.Layout.from_wire   against the bounds of a slot
    predictions   data_server.handover.predictions PREDICTIONS and the raw frame that follows, as evaluators read them
    config        shared.data_part                 the data part of a HELLO; its refusal must fit into a FAILURE

A target returns normally when a frame is good. What it then got must be good as well: it checks that, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import socket
import struct
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
from mmengine.config import Config

from data_server.handover import predictions
from shared.channel import Channel, ChannelClosed
from shared.codec import decode, encode
from shared.data_part import check_data_part, data_part, from_plain
from shared.errors import UserError
from shared.layout import Layout, LayoutError
from shared.messages import Failure, Message, MessageError, Predictions
from tests.fuzz import guard
from tests.fuzz.mutation import wrong_bytes, wrong_tree

CAPACITY = 4096
EXAMPLES = {"int": 3, "str": "train", "bool": True, "bytes": b"\x01" * 16, "list": [[1, "a"]], "dict": {"a": [1, None]}}
TYPES = tuple(Message.tags.values())


@dataclasses.dataclass(frozen=True)
class Target:
    """`seeds`: trees that make valid frames; `framed`: their bytes as `run` takes them; `errors`: the documented ones.

    Seeds and `framed` are used together: frame = framed(msgpack of a tree).
    """

    name: str
    seeds: tuple[Any, ...]
    framed: Callable[[bytes], bytes]
    run: Callable[[bytes], None]
    errors: tuple[type[Exception], ...]

    def __str__(self) -> str:
        return self.name

    def draw(self, chance: random.Random) -> bytes:
        """A frame with something wrong, now and then without."""
        trees = [chance.choice(self.seeds), chance.choice(self.seeds)]
        for _ in range(chance.choice((0, 1, 1, 2))):
            trees[0] = wrong_tree(chance, trees[0])
        frame, other = (self.framed(msgpack.packb(tree)) for tree in trees)
        return wrong_bytes(chance, frame, other) if chance.random() < 0.5 else frame

    def try_frame(self, frame: bytes, *, alarm: bool = False) -> bool:
        """Whether `frame` is accepted. Raises whatever a decoder must not raise."""
        try:
            return self._watched(frame, alarm)
        except guard.TooMuch:
            # Once in a while a table of the interpreter's own, such as that of all interned names, grows just now.
            return self._watched(frame, alarm)

    def _watched(self, frame: bytes, alarm: bool) -> bool:
        with guard.watched(alarm=alarm):
            try:
                self.run(frame)
            except self.errors:
                return False
        return True


def example(cls: type[Message], **fields: Any) -> Message:
    """A message with all its fields filled in by their types."""
    return cls(**{field.name: EXAMPLES[field.type] for field in dataclasses.fields(cls)} | fields)


def _tree(message: Message) -> list:
    return msgpack.unpackb(encode(message), strict_map_key=False)


def _decode(frame: bytes) -> None:
    data = encode(decode(frame, *TYPES))
    assert encode(decode(data, *TYPES)) == data


def _frames(data: bytes) -> bytes:
    """Three frames on a channel, after a byte that says how many descriptors come along and how the bytes are cut."""
    return bytes([len(data) % 256]) + 3 * (struct.pack("<I", len(data)) + data)


def _read_channel(frame: bytes) -> None:
    ours, theirs = socket.socketpair()
    before = _open_descriptors()
    channel = Channel(ours)
    try:
        how, data = (frame[0], frame[1:]) if frame else (0, b"")
        piece = max(1, len(data) // (1 + how // 16))
        for start in range(0, len(data), piece):
            socket.send_fds(theirs, [data[start : start + piece]], [0] * (how % 7))
        theirs.close()
        with contextlib.suppress(ChannelClosed):
            while True:
                channel.read(*TYPES)
                assert _open_descriptors() <= before + 3, "descriptors pile up"
    finally:
        theirs.close()
        channel.close()
        assert _open_descriptors() <= before - 2, "a descriptor is left"


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _read_layout(frame: bytes) -> None:
    layout = Layout.from_wire(frame, CAPACITY)
    payload = np.zeros(CAPACITY + 64, np.uint8)
    for view in layout.views(payload[:CAPACITY]).values():
        assert not view.any(), "two arrays overlap"
        view[...] = 1
    assert not payload[CAPACITY:].any()


def _predictions_framed(data: bytes) -> bytes:
    return struct.pack("<H", len(data)) + data + bytes(512)


def _read_predictions(frame: bytes) -> None:
    end = 2 + int.from_bytes(frame[:2], "little")
    message, payload = decode(frame[2:end], Predictions), frame[end:]
    kept = predictions.Kept()
    kept.append(message, payload)
    ((layout, back),) = predictions.read(os.dup(kept.descriptor))
    kept.close()
    assert back == payload
    for array in Layout.from_wire(layout, len(back)).views(np.frombuffer(back, np.uint8)).values():
        array.sum()


def _check_config(frame: bytes) -> None:
    try:
        hello = decode(frame, *TYPES)
    except MessageError as error:
        raise UserError(str(error)) from None
    try:
        part = getattr(hello, "config", {})
        check_data_part(part)
        from_plain(part)
    except UserError as error:
        failure = Failure(str(error), True)
        assert decode(encode(failure), Failure) == failure
        raise


def _data_parts() -> list[dict[str, Any]]:
    dataset = {"type": "CocoDataset", "ann_file": "a.json", "metainfo": {"classes": ("cup",)}, "pipeline": []}
    loader = {"batch_size": 2, "dataset": dataset, "sampler": {"shuffle": True}}
    feeds = ({}, {"slots": 3, "max_image_size": (800, 1344), "max_boxes": 9, "on_bad_sample": "replace"})
    return [data_part(Config({"train_dataloader": loader, "model": {}, "feed": feed}), "train") for feed in feeds]


_LAYOUTS = (
    Layout.pack([("images", "uint8", (2, 8, 8, 3)), ("boxes", "float32", (2, 8, 4)), ("ids", "int64", (2,))]),
    Layout.pack([("image_ids", "int64", (2,)), ("counts", "int32", (2,)), ("empty", "float32", (0, 4))]),
    Layout.pack([]),
)
_HELLO = Message.tags["Hello"]

TARGETS = {
    target.name: target
    for target in (
        Target("messages", tuple(_tree(example(cls)) for cls in TYPES), bytes, _decode, (MessageError,)),
        Target(
            "channel",
            tuple(_tree(example(cls)) for cls in TYPES),
            _frames,
            _read_channel,
            (MessageError,),
        ),
        Target(
            "layout", tuple(msgpack.unpackb(layout.wire) for layout in _LAYOUTS), bytes, _read_layout, (LayoutError,)
        ),
        Target(
            "predictions",
            tuple(_tree(Predictions(layout.wire)) for layout in _LAYOUTS),
            _predictions_framed,
            _read_predictions,
            (MessageError, LayoutError),
        ),
        Target(
            "config",
            tuple(_tree(example(_HELLO, config=part)) for part in _data_parts()),
            bytes,
            _check_config,
            (UserError,),
        ),
    )
}
