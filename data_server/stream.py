"""One trainer's stream of batches, from HELLO to the end.

    BUILDING ──facts──► OPEN ──────────► CLOSED
        └──────────failure, lifeline EOF, GOODBYE──────────┘

It brings together the ledger (who may do what), the plan (what is in a batch), the pool (who makes it) and the lifeline
(whether the trainer lives). It makes no decision about slots of its own: it asks the ledger and passes on what that
says.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from data_server.batch import DatasetFacts
from data_server.ledger import Ledger, ProtocolError
from data_server.memory import MemoryPlan
from data_server.plan import Plan
from data_server.pool import Pool
from shared.arena import create_memory, read_only, slot_bytes_for
from shared.config import check_data_part, from_plain
from shared.errors import UserError
from shared.link import Channel, ChannelClosed
from shared.messages import (
    Assign,
    Batch,
    EndOfStream,
    Evaluate,
    Facts,
    Failure,
    Goodbye,
    Hello,
    Message,
    MessageError,
    Metrics,
    Notice,
    Predictions,
    Release,
    Spawn,
    Welcome,
    Wrote,
)

MAX_DEATHS_PER_STEP = 3
_SPARE_SLOTS = 1


def check(hello: Hello) -> None:
    """Raises UserError for a HELLO that makes no sense, whatever client sent it."""
    if hello.credits < 1 or hello.world_size < 1 or hello.rank >= hello.world_size:
        raise UserError(
            f"a stream with credits={hello.credits}, rank={hello.rank}, world_size={hello.world_size}: "
            "expected at least one credit and a rank below world_size"
        )
    check_data_part(hello.config)


class Server(Protocol):
    """What a stream needs of the server."""

    def send(self, stream: Stream, message: Message) -> None: ...

    def close(self, stream: Stream) -> None: ...

    def log(self, text: str) -> None: ...


class Stream:
    """The state of one client's stream.

    Args:
        identity: the client's ZeroMQ identity.
        hello: has passed `check`.
        lifeline: the client's lifeline, which becomes the stream's.
        make_pool: builds the pool that reports to this stream, from the data part of the config.
    """

    def __init__(
        self,
        server: Server,
        identity: bytes,
        lifeline: Channel,
        hello: Hello,
        workers: int,
        make_pool: Callable[[Stream, dict], Pool],
    ) -> None:
        self.identity = identity
        self.lifeline = lifeline
        self.name = f"{hello.stream} of {identity.hex()[:6]}"
        self._server = server
        self._hello = hello
        self._workers = workers
        self._ledger: Ledger | None = None
        self._plan: Plan | None = None
        self._memory = -1
        self._idle: list[int] = []
        self._written: dict[int, Wrote] = {}  # slot -> what its worker said, while READY
        self._deaths: Counter[int] = Counter()
        self._predictions: list[tuple[Predictions, bytes]] = []
        self._ended = False
        self.pool = make_pool(self, hello.config)

    # What the client says ---------------------------------------------------------------------------------------------

    def on_message(self, message: Release | Predictions | Evaluate | Goodbye, frames: list[bytes]) -> None:
        """Raises ProtocolError or MessageError for what does not fit the stream's state."""
        if self._ledger is None and not isinstance(message, Goodbye):
            raise ProtocolError(f"{type(message).__name__} before WELCOME")
        match message:
            case Release():
                self._ledger.release(message.slot, message.generation)
                self._advance()
            case Predictions():
                if len(frames) != 1:
                    raise MessageError(f"PREDICTIONS come with one frame, not {len(frames)}")
                self._predictions.append((message, frames[0]))
            case Evaluate():
                if self.pool.evaluating:
                    raise ProtocolError("EVALUATE before the METRICS of another")
                records, self._predictions = self._predictions, []
                self.pool.evaluate(message.evaluator, records)
            case Goodbye():
                self._server.close(self)

    # What the pool says -----------------------------------------------------------------------------------------------

    def built(self, facts: Facts, memory: int) -> None:
        dataset = DatasetFacts.received(facts, memory)
        if self._ledger is not None:  # built again after the nursery died; the stream goes on as planned
            return
        try:
            self._open(facts, dataset)
        except UserError as error:
            self.failed(Failure(str(error), True))

    def worker_idle(self, worker: int) -> None:
        self._idle.append(worker)
        self._advance()

    def worker_wrote(self, worker: int, message: Wrote) -> None:
        self._ledger.wrote(worker, message.slot, message.generation)
        self._written[message.slot] = message
        for line in message.replaced:
            self.notice(f"{line}; replaced by the next sample")

    def worker_died(self, worker: int) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        steps = self._ledger.worker_died(worker)
        self.notice(f"worker {worker} died" + "".join(f"; the batch of step {step} is made again" for step in steps))
        for step in steps:
            self._deaths[step] += 1
            if self._deaths[step] == MAX_DEATHS_PER_STEP:
                images = list(self._plan.batch(step).indices)
                text = (
                    f"the batch of step {step} killed {MAX_DEATHS_PER_STEP} workers; "
                    f"one of its images does (indices {images}); see the data server's log"
                )
                self.failed(Failure(text, False))
                return
        self._advance()

    def evaluated(self, answer: Metrics | Failure) -> None:
        if isinstance(answer, Failure):
            self.failed(answer)
        else:
            self._server.send(self, answer)

    def failed(self, failure: Failure) -> None:
        """Tells the client why, on the lifeline, and ends the stream."""
        self._server.log(f"stream {self.name}: {failure.text}")
        with contextlib.suppress(ChannelClosed):
            self.lifeline.send(failure)
        self._server.close(self)

    def notice(self, text: str) -> None:
        self._server.log(f"stream {self.name}: {text}")
        if self._ledger is not None:
            self._server.send(self, Notice(text))

    # ------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Kills the stream's processes and gives its memory back."""
        self.pool.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
        self.lifeline.close()

    def _open(self, facts: Facts, dataset: DatasetFacts) -> None:
        hello, config = self._hello, from_plain(self._hello.config)
        self._plan = Plan.of(config, dataset.wide, hello.seed, hello.rank, hello.world_size)
        steps = self._plan.steps_per_epoch
        slots = config["feed"]["slots"] or self._workers + hello.credits + _SPARE_SLOTS
        if slots < hello.credits:
            raise UserError(f"config key 'feed.slots' is {slots}; expected feed.credits={hello.credits} or more")
        plan = MemoryPlan(slots, slot_bytes_for(dataset.payload_bytes(config)), self._workers)
        plan.check()
        try:
            self._memory = create_memory(plan.slots, plan.slot_bytes)
        except OSError as error:
            raise UserError(f"too little memory: the plan is {plan}: {error.strerror}") from None
        end = hello.epochs * steps if hello.epochs else None
        self._ledger = Ledger(slots, hello.epoch * steps + hello.step, end, hello.credits)
        welcome = Welcome(facts.classes, facts.images, steps, slots, plan.slot_bytes, str(plan))
        shown = read_only(self._memory)
        try:
            self.lifeline.send(welcome, shown)
        except ChannelClosed:
            return  # its EOF is in the poll loop already
        finally:
            os.close(shown)
        self._server.log(f"stream {self.name}: {facts.images} images, {steps} steps per epoch, memory plan {plan}")
        self.pool.open(Spawn(slots, plan.slot_bytes), self._memory)

    def _advance(self) -> None:
        """Hands out what the ledger allows: work to idle workers, batches to the client."""
        while self._idle and (assignment := self._ledger.assign(self._idle[0])):
            worker = self._idle.pop(0)
            batch = self._plan.batch(assignment.step)
            samples = [list(pair) for pair in zip(batch.indices, batch.seeds, strict=True)]
            self.pool.assign(worker, Assign(assignment.step, assignment.slot, assignment.generation, samples))
        while lease := self._ledger.lease():
            batch, wrote = self._plan.batch(lease.step), self._written.pop(lease.slot)
            self._server.send(
                self,
                Batch(batch.epoch, lease.step, lease.slot, lease.generation, wrote.layout, wrote.digest, batch.valid),
            )
        if self._ledger.finished and not self._ended:
            self._ended = True
            self._server.send(self, EndOfStream())
