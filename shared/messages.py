"""Every message that crosses a process boundary, typed, with its limits.

    trainer ──────────────────────────── data server ────────────────────── nursery and workers (torch, mmdet)
      DEALER ══ ZeroMQ ipc://dir/control ══ ROUTER   │
      ─────── Unix socket dir/lifeline ────────────  │  ─────── socket pairs (one per process) ──────────────

A stream, step by step:

     1  trainer connects the lifeline and says     HAIL     who am I (16 bytes), which protocol
     2  server answers on the lifeline             READY    (or FAILURE: another protocol version)
     3  trainer sends on the control channel       HELLO    the data part of its config, seed, rank, where to start
     4  server has a nursery build the data set    BUILD →, ← FACTS (with a memfd of per-image facts)
        (a stream that has outlived its trainer is taken over as it is: on to 6)
     5  server makes the arena, has workers forked SPAWN →, each worker says ← STARTED (with its pidfd)
     6  server answers on the lifeline             WELCOME  classes, epoch length, memory plan; with the arena's memfd
     7  server gives work to idle workers          ASSIGN → step, slot, generation, samples; ← WROTE
     8  server hands out batches in step order     BATCH    slot, generation, layout, checksum (≤ credits outstanding)
     9  trainer copies to the device and says      RELEASE  slot, generation
        after each checkpoint it says              CHECKPOINTED where it would go on if it were killed
    10  in evaluation the trainer sends            PREDICTIONS (arrays as raw frames), then EVALUATE
    11  server forks an evaluator, answers         METRICS
    12  trainer ends with                          GOODBYE

EOF on a lifeline or socket pair means: that process is dead; what a worker died of its nursery says (EXITED). FAILURE
ends a stream and carries one line for the user; QUARANTINED, on the lifeline as well, names a sample that kills
workers; NOTICE is a line for the log.

A message is msgpack ``[tag, field, field, ...]``. `decode` refuses an unknown tag, a wrong number of fields, a wrong
type, a number out of range, too deep a nesting and anything above the limits, before it allocates. Nothing is ever
unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, get_type_hints

import msgpack

PROTOCOL_VERSION = 2
MAX_MESSAGE_BYTES = 4 << 20
MAX_TEXT = 1 << 16
MAX_ITEMS = 1 << 17
MAX_DEPTH = 24
IDENTITY_BYTES = 16
MAX_FRAME_BYTES = 256 << 20  # of arrays that follow a message


class MessageError(ValueError):
    """Bytes that are not a message of this protocol."""


class Message:
    """Every message's base. A subclass is a frozen dataclass of plain fields; its name is its tag on the wire."""

    tags: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls) -> None:
        cls.tags[cls.__name__] = cls


# trainer -> server ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hail(Message):
    """First word on a lifeline. Its form never changes, so that versions can always tell each other apart."""

    protocol: int
    identity: bytes


@dataclass(frozen=True)
class Hello(Message):
    """Opens a stream.

    `stream` is its name for logs; `config` the data part of the trainer's config, plain data; the stream starts at
    (`epoch`, `step`) and ends after epoch `epochs` - 1 (0: never); of every global batch, rank `rank` of `world_size`
    gets its own; at most `credits` batches are leased at a time. `digest` is the rolling digest of what the trainer has
    had of the stream so far ("" at its beginning).
    """

    stream: str
    config: dict
    seed: int
    rank: int
    world_size: int
    epoch: int
    step: int
    epochs: int
    credits: int
    digest: str = ""


@dataclass(frozen=True)
class Release(Message):
    """The trainer has let go of a slot."""

    slot: int
    generation: int


@dataclass(frozen=True)
class Checkpointed(Message):
    """Everything before (`epoch`, `step`) is in a checkpoint: where this trainer would go on after a crash."""

    epoch: int
    step: int


@dataclass(frozen=True)
class Predictions(Message):
    """Detections for some images; `layout` describes the raw frame that follows.

    Arrays: image_ids i64 (N,), counts i32 (N,), original_shapes i32 (N,2), boxes f32 (M,4) in original pixels, scores
    f32 (M,), labels i32 (M,), M = sum of counts.
    """

    layout: list


@dataclass(frozen=True)
class Evaluate(Message):
    """Asks for the metrics over all predictions sent so far. `evaluator` is MMDetection's ``val_evaluator``: a list of
    metric configs."""

    evaluator: list


@dataclass(frozen=True)
class Goodbye(Message):
    """The trainer needs the stream no longer."""


# server -> trainer ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready(Message):
    """The server takes this lifeline."""

    protocol: int


@dataclass(frozen=True)
class Welcome(Message):
    """The stream is open; the arena's memfd comes with this message. `fingerprint` is that of the annotations."""

    classes: list
    images: int
    fingerprint: str
    steps_per_epoch: int
    slots: int
    slot_bytes: int
    plan: str


@dataclass(frozen=True)
class Batch(Message):
    """A lease: step `step` of epoch `epoch` lies in `slot`. The first `valid` of its images count, the rest repeat the
    last one."""

    epoch: int
    step: int
    slot: int
    generation: int
    layout: list
    digest: int
    valid: int


@dataclass(frozen=True)
class EndOfStream(Message):
    """All epochs asked for have been delivered. `digest` is the rolling digest of the whole stream."""

    digest: str


@dataclass(frozen=True)
class Metrics(Message):
    """What the evaluator computed, by name."""

    values: dict


@dataclass(frozen=True)
class Failure(Message):
    """The end of a stream, in one line for the user. `user_error`: the user can mend it (exit code 2)."""

    text: str
    user_error: bool


@dataclass(frozen=True)
class Quarantined(Message):
    """Sample `index` of the data set, the file `image`, kills the worker that makes batch `step`, `reason` says how.
    `replaced`: the next sample takes its place; else the stream ends."""

    step: int
    index: int
    image: str
    reason: str
    replaced: bool


@dataclass(frozen=True)
class Notice(Message):
    """A line for the log."""

    text: str


# server -> nursery, workers -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fork(Message):
    """To the root nursery: fork a stream's nursery. Its socket comes with this message."""


@dataclass(frozen=True)
class Build(Message):
    """To a stream's nursery: build the data set of ``config``, the data part of a trainer's config."""

    config: dict


@dataclass(frozen=True)
class Spawn(Message):
    """To a stream's nursery: fork worker `worker`. Its socket and the arena's memfd come with this message."""

    worker: int
    slots: int
    slot_bytes: int


@dataclass(frozen=True)
class SpawnEvaluator(Message):
    """To a stream's nursery: fork an evaluator. Its socket and a memfd full of predictions come with this message."""

    evaluator: list


@dataclass(frozen=True)
class Assign(Message):
    """To a worker: make batch `step` into `slot`. `samples` are [index, seed] pairs; the sample at place `suspect` - 1
    of them, on which a worker has died before, is made before any other (0: none)."""

    step: int
    slot: int
    generation: int
    samples: list
    suspect: int


# nursery, workers -> server -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts(Message):
    """The data set is built. A memfd comes along: uint8 (images,), 1 where an image is wider than high.

    `nursery_bytes` is what the data set takes in memory, `worker_bytes` what a worker needs beyond that (both
    measured).
    """

    classes: list
    images: int
    fingerprint: str
    max_boxes: int
    batch_height: int
    batch_width: int
    nursery_bytes: int
    worker_bytes: int


@dataclass(frozen=True)
class Started(Message):
    """First word of a stream's nursery and of a worker; its pidfd comes with this message."""


@dataclass(frozen=True)
class Exited(Message):
    """From a nursery: its worker `worker` has ended, by signal `signal` or with exit code `code`."""

    worker: int
    signal: int
    code: int


@dataclass(frozen=True)
class Wrote(Message):
    """Slot `slot` holds batch `step`. `replaced` are lines about samples that had to be replaced; `memory` is what the
    worker holds for itself now, in bytes."""

    step: int
    slot: int
    generation: int
    layout: list
    digest: int
    replaced: list
    memory: int


_TYPES = {cls: tuple(get_type_hints(cls)[field.name] for field in fields(cls)) for cls in Message.tags.values()}


def encode(message: Message) -> bytes:
    """The bytes of a message.

    Raises:
        MessageError: it holds something that is not plain data, or is larger than `MAX_MESSAGE_BYTES`.
    """
    try:
        data = msgpack.packb([type(message).__name__, *(getattr(message, field.name) for field in fields(message))])
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"{type(message).__name__} holds something other than plain data: {error}") from None
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(f"{type(message).__name__} has {len(data)} bytes, the limit is {MAX_MESSAGE_BYTES}")
    return data


def decode(data: bytes, *expected: type[Message]) -> Message:
    """The message in `data`, which must be one of `expected`.

    Raises:
        MessageError: it is not.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(f"{len(data)} bytes, the limit is {MAX_MESSAGE_BYTES}")
    try:
        parts = msgpack.unpackb(
            data,
            strict_map_key=False,
            max_str_len=MAX_TEXT,
            max_bin_len=MAX_TEXT,
            # An item takes a byte or more, so a longer container is a lie that must not be allocated.
            max_array_len=min(MAX_ITEMS, len(data)),
            max_map_len=min(MAX_ITEMS, len(data)),
            max_ext_len=0,
        )
    except Exception as error:
        raise MessageError(f"not msgpack within the limits: {type(error).__name__}") from None
    if not isinstance(parts, list) or not parts or not isinstance(parts[0], str) or parts[0] not in Message.tags:
        raise MessageError("no message of this protocol")
    cls = Message.tags[parts[0]]
    if cls not in expected:
        raise MessageError(f"{parts[0]} is out of place here")
    if len(parts) - 1 != len(_TYPES[cls]):
        raise MessageError(f"{parts[0]} has {len(parts) - 1} fields, not {len(_TYPES[cls])}")
    for field, kind, value in zip(fields(cls), _TYPES[cls], parts[1:], strict=True):
        _check(f"{parts[0]}.{field.name}", kind, value)
    return cls(*parts[1:])


def _check(where: str, kind: type, value: object) -> None:
    if type(value) is not kind:
        raise MessageError(f"{where} is {type(value).__name__}, not {kind.__name__}")
    if kind is int and not 0 <= value < 2**64:
        raise MessageError(f"{where} is out of range")
    if where == "Hail.identity" and len(value) != IDENTITY_BYTES:
        raise MessageError(f"{where} has {len(value)} bytes, not {IDENTITY_BYTES}")
    if kind in (list, dict):
        _check_depth(where, value, MAX_DEPTH)


def _check_depth(where: str, value: object, left: int) -> None:
    if left == 0:
        raise MessageError(f"{where} is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise MessageError(f"{where} has a key of type {type(key).__name__}")
            _check_depth(where, item, left - 1)
    elif isinstance(value, list):
        for item in value:
            _check_depth(where, item, left - 1)
