"""Every message that crosses a process boundary, typed, with its limits.

    trainer ──────────────────────────── data server ────────────────────── nursery and workers (torch, mmdet)
      DEALER ══ ZeroMQ ipc://dir/cXXXXXXX ═ ROUTER   │
      ─────── Unix socket dir/lifeline ────────────  │  ─────── socket pairs (one per process) ──────────────

A stream, step by step:

     1  trainer makes its control socket, connects
        the lifeline and says                          HAIL     who am I (16 bytes), which protocol
     2  server answers on the lifeline             READY    (or FAILURE: another protocol version)
     3  trainer sends on the control channel       HELLO    the data part of its config, seed, rank, where to start
     4  server has a nursery build the data set    BUILD →, ← FACTS (with a memfd of per-image facts)
        (a stream that has outlived its trainer is taken over as it is: on to 6)
     5  server makes the arena, has workers forked SPAWN →, each worker says ← STARTED (with its pidfd)
     6  server answers on the lifeline             WELCOME  classes, epoch length, memory plan; with the arena's memfd
     7  server gives work to idle workers          ASSIGN → step, slot, generation, samples; ← WROTE
     8  server hands out batches in step order,    BATCH    slot, generation, layout, checksum (≤ credits outstanding)
        on the lifeline; after the last one        ENDOFSTREAM
     9  trainer copies to the device and says,     RELEASE  slot, generation
        on the lifeline
        after each checkpoint it says,             CHECKPOINTED where it would continue if it were killed
        on the lifeline: arrives even if the trainer is killed right after
    10  in evaluation the trainer sends            PREDICTIONS (arrays as raw frames), then EVALUATE
    11  server forks an evaluator, answers         METRICS
    12  trainer ends with                          GOODBYE

A trainer that serves people has a process of ``python -m data_server embed`` at the other end of a socket pair:

        words that have no text embedding yet      EMBED →, ← EMBEDDED, or FAILURE

A worker on another host is a proxy on this one (`data_server.workers.proxy`) and an agent there
(`data_server.far.agent`), joined by TCP; a launcher, which alone knows Ray, tells the server where agents are:

     a  server to its launcher, once               LAUNCH   ← READY, then JOINED and LEFT as nodes come and go
        an elastic one, as its streams fare        WANT
     b  server has two batches made to compare     PROVE →, ← PROOF; then a proxy forked
                                                   SPAWN    with the agent's address and the keys
     c  proxy to the agent                         JOIN     the agent builds the data set, unless that is done
     d  agent to the proxy                         PROOF    what its host makes; if we do not: ← REFUSED to the server
                                                   STARTED  a worker there waits
     e  server to the worker, and back             ASSIGN →, PING →, ← ATWORK; ← WROTE and the payload in frames
     f  the worker there has ended                 LOST     its proxy dies as it did; passed on to the server where
                                                            the agent had to kill it

EOF on a lifeline or socket pair means that the process is dead; how a worker died its nursery reports (EXITED). FAILURE
ends a stream and carries one line for the user; QUARANTINED, on the lifeline as well, names a sample that kills
workers; NOTICE is a line for the log.

How a message becomes bytes and back is `shared.codec`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

PROTOCOL_VERSION = 11
MAX_MESSAGE_BYTES = 1 << 20
MAX_SMALL_BYTES = 1 << 16  # of a message that holds neither a config nor a list of classes or metrics
MAX_TEXT = 1 << 16
MAX_ITEMS = 1 << 17
MAX_DEPTH = 24
IDENTITY_BYTES = 16
MAX_FRAME_BYTES = 256 << 20  # of arrays that follow a message


class MessageError(ValueError):
    """Bytes that are not a message of this protocol."""


@dataclass(frozen=True)
class Message:
    """Every message's base. A subclass is a frozen dataclass of plain fields; its name is its tag on the wire."""

    tags: ClassVar[dict[str, type[Message]]] = {}
    limit: ClassVar[int]  # bytes

    def __init_subclass__(cls, *, large: bool = False) -> None:
        cls.tags[cls.__name__] = cls
        cls.limit = MAX_MESSAGE_BYTES if large else MAX_SMALL_BYTES


# trainer -> server ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hail(Message):
    """The first message on a lifeline. Its form never changes, so that all versions recognise each other."""

    protocol: int
    identity: bytes


@dataclass(frozen=True)
class Hello(Message, large=True):
    """Opens a stream.

    `stream` is its name for logs; `config` the data part of the trainer's config, plain data; the stream starts at
    (`epoch`, `step`) and ends after epoch `epochs` - 1 (0: never); of all its batches, counted from 0, rank `rank` of
    `world_size` gets number `rank` and then every `world_size`-th; at most `credits` batches are leased at a time.
    `digest` is the rolling digest of what the trainer has had of the stream so far ("" at its beginning). `predicted`
    is the most boxes that it may have predicted in each image when it asks for metrics (0: it does not ask, or after a
    few images at a time).
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
    predicted: int = 0


@dataclass(frozen=True)
class Release(Message):
    """The trainer has let go of a slot."""

    slot: int
    generation: int


@dataclass(frozen=True)
class Checkpointed(Message):
    """Everything before (`epoch`, `step`) is in a checkpoint: where this trainer would continue after a crash."""

    epoch: int
    step: int


@dataclass(frozen=True)
class Predictions(Message):
    """Detections for some images; `layout` describes the raw frame that follows.

    Arrays: image_ids i64 (N,), counts i32 (N,), original_shapes i32 (N,2), boxes f32 (M,4) in original pixels, scores
    f32 (M,), labels i32 (M,), M = sum of counts.
    """

    layout: bytes


@dataclass(frozen=True)
class Evaluate(Message, large=True):
    """Asks for the metrics over all predictions sent so far. `evaluator` is MMDetection's ``val_evaluator``: a list of
    metric configs."""

    evaluator: list


@dataclass(frozen=True)
class Goodbye(Message):
    """The trainer needs the stream no longer."""


# server -> trainer ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready(Message):
    """The server accepts this lifeline."""

    protocol: int


@dataclass(frozen=True)
class Welcome(Message, large=True):
    """The stream is open; the arena's memfd comes with this message. `classes` are the names of each data set's classes
    by label, `fingerprint` is that of the annotations and proposals."""

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
    layout: bytes
    digest: int
    valid: int


@dataclass(frozen=True)
class EndOfStream(Message):
    """All epochs asked for have been delivered. `digest` is the rolling digest of the whole stream."""

    digest: str


@dataclass(frozen=True)
class Metrics(Message, large=True):
    """What the evaluator computed, by name."""

    values: dict


@dataclass(frozen=True)
class Failure(Message, large=True):
    """The end of a stream, in one line for the user. `user_error`: the user can correct it (exit code 2)."""

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
    """A line for the log. A stream's nursery sends it as well, while it builds."""

    text: str


# server -> nursery, workers -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fork(Message):
    """To the root nursery: fork a stream's nursery. Its socket comes with this message."""


@dataclass(frozen=True)
class Build(Message, large=True):
    """To a stream's nursery: build the data set of ``config``, the data part of a trainer's config. Relative paths
    begin in `directory` (empty: where the nursery is)."""

    config: dict
    directory: str = ""


@dataclass(frozen=True)
class Spawn(Message):
    """To a stream's nursery: fork worker `worker`. Its socket and the arena's memfd come with this message. `far`: the
    proxy of one on another host is forked (`data_server.handover.far_link.Place`); empty: it works here."""

    worker: int
    slots: int
    slot_bytes: int
    far: list = field(default_factory=list)


@dataclass(frozen=True)
class Prove(Message):
    """To a stream's nursery, once, on both hosts: make what the two are compared by. The answer is PROOF."""


@dataclass(frozen=True)
class SpawnEvaluator(Message):
    """To a stream's nursery: fork an evaluator. Its socket comes with this message."""


@dataclass(frozen=True)
class Judge(Message, large=True):
    """To an evaluator: judge the predictions whose file comes with this message by MMDetection's config of metrics."""

    evaluator: list


@dataclass(frozen=True)
class Assign(Message, large=True):
    """To a worker: make batch `step` into `slot`. `samples` are [index, seed] pairs; the sample at place `suspect` - 1
    of them, on which a worker has died before, is made before any other (0: none). `switched`: by the pipeline of the
    last epochs (`shared.pipeline_switch`)."""

    step: int
    slot: int
    generation: int
    samples: list
    suspect: int
    switched: bool


# nursery, workers -> server -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts(Message, large=True):
    """The data set is built. A memfd comes along: uint8 (images,), 1 where an image is wider than high.

    `images` are those of all data sets, `sizes` those of each; `nursery_bytes` is what they take in memory,
    `worker_bytes` what a worker needs beyond that (both measured).
    """

    classes: list
    images: int
    sizes: list
    fingerprint: str
    max_boxes: int
    max_proposals: int
    batch_height: int
    batch_width: int
    nursery_bytes: int
    worker_bytes: int


@dataclass(frozen=True)
class Started(Message):
    """The first message of a stream's nursery and of a worker; its pidfd comes with it."""


@dataclass(frozen=True)
class Exited(Message):
    """From a nursery: its worker `worker` has ended, by signal `signal` or with exit code `code`."""

    worker: int
    signal: int
    code: int


@dataclass(frozen=True)
class Wrote(Message, large=True):
    """Slot `slot` holds batch `step`. `replaced` are lines about samples that had to be replaced; `memory` is what the
    worker held for itself after the batch before, in bytes, and `microseconds` the processor time spent on making this
    one; by a proxy, on receiving it."""

    step: int
    slot: int
    generation: int
    layout: bytes
    digest: int
    replaced: list
    memory: int
    microseconds: int


# a trainer that serves, and the process that embeds for it ------------------------------------------------------------


@dataclass(frozen=True)
class Embed(Message, large=True):
    """Asks for the text embeddings of `names`, a list of texts."""

    names: list


@dataclass(frozen=True)
class Embedded(Message, large=True):
    """A row for each name: `rows` is little-endian f32 (N,D)."""

    rows: bytes


# far workers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Launch(Message):
    """To the launcher: have agents on the nodes of the Ray cluster at `address`, for at most `workers` workers in all
    and `per_node` on each (0: as many as it has processors), which serve who has the public key `key`. `elastic`: have
    none before they are wanted."""

    address: str
    workers: int
    per_node: int
    elastic: bool
    key: str


@dataclass(frozen=True)
class Want(Message):
    """To an elastic launcher: have agents for at least `workers` workers of each stream from now on, and not many
    more."""

    workers: int


@dataclass(frozen=True)
class Joined(Message):
    """From the launcher: on the node `node` an agent listens at `address`, `key` is its public key; it has room for
    `workers` workers of each stream."""

    node: str
    address: str
    key: str
    workers: int


@dataclass(frozen=True)
class Left(Message):
    """From the launcher: the agent at `address` is gone."""

    address: str


@dataclass(frozen=True)
class Join(Message, large=True):
    """From a proxy to an agent, its first message: make batches of `config`, the data part of a trainer's config, that
    need at most `slot_bytes`; relative paths begin in `directory`. The answer is PROOF, then STARTED; or REFUSED."""

    protocol: int
    config: dict
    directory: str
    slot_bytes: int


@dataclass(frozen=True)
class Proof(Message, large=True):
    """What a host makes of a data set: the `fingerprint` of its annotations, the xxh3 of the contents of some image
    `files` (8 bytes each, 0 for one that cannot be read), the checksums of some `batches` (none: they could not be
    made), and the `versions` of what makes them."""

    fingerprint: str
    files: bytes
    batches: list
    versions: dict


@dataclass(frozen=True)
class Ping(Message):
    """From a proxy to its agent, now and then: I am there."""


@dataclass(frozen=True)
class AtWork(Message):
    """From an agent: its worker makes the sample at `place` of its batch, counted from 1 (0: none), of the file
    `note`."""

    place: int
    note: str


@dataclass(frozen=True)
class Lost(Message):
    """From an agent: its worker has ended, by signal `signal` or with exit code `code`, with that sample in hand.
    `verdict`: why the agent killed it, if it did; the proxy then hands the message on to its server."""

    signal: int
    code: int
    place: int
    note: str
    verdict: str


@dataclass(frozen=True)
class Refused(Message):
    """From a proxy to its server, or from an agent to its proxy: this node makes no batch of this stream, and why."""

    text: str
