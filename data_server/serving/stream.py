"""One stream of batches, from HELLO to its end; it may serve several trainers, one after the other.

    BUILDING ──facts──► OPEN ◄──HELLO of the same stream── DORMANT ──feed.linger_seconds──► CLOSED
        │                │ └──────lifeline EOF──────────────► │                               ▲
        └────────────────┴──failure, GOODBYE──────────────────┴───────────────────────────────┘

It brings together the ledger (who may do what), the plan (what is in a batch), the pool (who makes it) and the client
(who gets it). It makes no decision about slots of its own: it asks the ledger and passes on what that says.

A stream whose trainer was killed goes back to that one's last checkpoint and fills its slots from there, so that a new
trainer which resumes from it finds its first batches ready.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from data_server.handover.facts import DatasetFacts
from data_server.machine.memory import MemoryPlan
from data_server.serving.blame import MAX_KILLS, Death, Suspects
from data_server.serving.client import Client
from data_server.serving.ledger import Ledger, ProtocolError
from data_server.serving.meter import Meter
from data_server.serving.plan import BatchPlan, Plan
from data_server.serving.pool import Pool
from shared.arena import create_memory, in_hand, read_only, slot_bytes_for
from shared.config import check_data_part, from_plain
from shared.errors import UserError
from shared.faults import reach
from shared.layout import Layout
from shared.messages import (
    Assign,
    Batch,
    Checkpointed,
    EndOfStream,
    Evaluate,
    Facts,
    Failure,
    Goodbye,
    Hello,
    Message,
    Metrics,
    Notice,
    Predictions,
    Quarantined,
    Release,
    Welcome,
    Wrote,
)

MAX_MOVES = 100
MAX_CURSOR = 1 << 31  # epochs, and steps in one, so that a step counted from the first epoch fits into a message
_SPARE_SLOTS = 1


def check(hello: Hello) -> None:
    """Raises UserError for a HELLO that makes no sense, whatever client sent it."""
    if hello.credits < 1 or hello.world_size < 1 or hello.rank >= hello.world_size:
        raise UserError(
            f"a stream with credits={hello.credits}, rank={hello.rank}, world_size={hello.world_size}: "
            "expected at least one credit and a rank below world_size"
        )
    if max(hello.epoch, hello.step, hello.epochs) >= MAX_CURSOR:
        raise UserError(
            f"a stream with epoch={hello.epoch}, step={hello.step}, epochs={hello.epochs}: "
            f"expected numbers below {MAX_CURSOR}"
        )
    check_data_part(hello.config)


class Server(Protocol):
    """What a stream needs of the server."""

    def send(self, identity: bytes, message: Message) -> None: ...

    def close(self, stream: Stream) -> None: ...

    def make_room(self) -> bool:
        """Closes the stream that nobody has read for longest; returns whether there was one."""

    def log(self, text: str) -> None: ...


class Stream:
    """The state of one stream.

    Args:
        client: the trainer that opens it.
        hello: its words; have passed `check`.
        make_pool: builds the pool that reports to this stream, from the data part of the config.
    """

    def __init__(
        self, server: Server, client: Client, hello: Hello, workers: int, make_pool: Callable[[Stream, dict], Pool]
    ) -> None:
        self.client: Client | None = client
        self.name = f"{hello.stream} of {client.identity.hex()[:6]}"
        self.linger_seconds: float = hello.config["feed"]["linger_seconds"]
        self._server = server
        self._hello = hello
        self._workers = workers
        self._ledger: Ledger | None = None
        self._plan: Plan | None = None
        self._welcome: Welcome | None = None
        self._memory = -1
        self._resume_at = 0
        self._idle: list[int] = []
        self._recipes: dict[int, BatchPlan] = {}  # slot -> what its worker was told, from WRITING on
        self._written: dict[int, Wrote] = {}  # slot -> what its worker said, while READY
        self._suspects = Suspects()
        self._untold: list[Quarantined] = []
        self.meter = Meter()
        self.pool = make_pool(self, hello.config)

    # The client's life ------------------------------------------------------------------------------------------------

    def fits(self, hello: Hello) -> bool:
        """Whether a trainer that says `hello` wants this very stream, at whatever step."""
        return replace(hello, epoch=0, step=0, digest="") == replace(self._hello, epoch=0, step=0, digest="")

    def attach(self, client: Client, hello: Hello) -> None:
        """DORMANT -> OPEN: a trainer takes the place of one that died."""
        self.client = client
        self._resume_at = self._cursor(hello.epoch, hello.step)
        self._ledger.rewind(self._resume_at)
        reach("server.attached")
        self._server.log(f"stream {self.name}: taken over by {client.identity.hex()[:6]} at step {self._resume_at}")
        self._send_welcome()
        for message in self._untold:
            client.tell(message)
        self._untold.clear()
        self._advance()

    def detach(self) -> bool:
        """The client is dead. Returns whether the stream lives on: OPEN -> DORMANT."""
        if self._ledger is None or self.linger_seconds == 0:
            return False
        self.client.lifeline.close()
        self.client = None
        self.pool.cancel_evaluation()
        self._ledger.rewind(self._resume_at)
        reach("server.detached")
        self._advance()
        return True

    # What the client says ---------------------------------------------------------------------------------------------

    def on_lifeline(self, message: Release | Checkpointed) -> None:
        """What comes over the lifeline. Raises ProtocolError for what does not fit the stream's state."""
        self._check_open(message)
        match message:
            case Release():
                self._ledger.release(message.slot, message.generation)
                reach("server.released")
                self._advance()
            case Checkpointed():
                if max(message.epoch, message.step) >= MAX_CURSOR:
                    raise ProtocolError(f"CHECKPOINTED at epoch {message.epoch}, step {message.step}")
                self._resume_at = self._cursor(message.epoch, message.step)
                reach("server.checkpointed")

    def on_control(self, message: Predictions | Evaluate | Goodbye, frames: list[bytes]) -> None:
        """What comes over the control channel. Raises ProtocolError or MessageError for what does not fit the stream's
        state."""
        if not isinstance(message, Goodbye):
            self._check_open(message)
        match message:
            case Predictions():
                self._keep(message, frames)
            case Evaluate():
                if self.pool.evaluating:
                    raise ProtocolError("EVALUATE before the METRICS of another")
                self.pool.evaluate(message.evaluator, self.client.take_predictions())
                reach("server.evaluate")
            case Goodbye():
                reach("server.goodbye")
                self._server.close(self)

    def _check_open(self, message: Message) -> None:
        if self._ledger is None:
            raise ProtocolError(f"{type(message).__name__} before WELCOME")

    def _keep(self, message: Predictions, frames: list[bytes]) -> None:
        reach("server.predictions")
        try:
            self.client.keep(message, frames)
        except UserError as error:
            self.failed(Failure(str(error), True))

    # What the pool says -----------------------------------------------------------------------------------------------

    def built(self, facts: Facts, memory: int) -> None:
        dataset = DatasetFacts.received(facts, memory)
        reach("server.built")
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
        reach("server.wrote")
        if not self._ledger.wrote(worker, message.slot, message.generation):
            return
        self._suspects.cleared(message.step)
        self._written[message.slot] = message
        self.meter.replaced += len(message.replaced)
        for line in message.replaced:
            self.notice(f"{line}; replaced by the next sample")
        if self.client is not None:
            self._deliver(self.client)  # first of all: the worker's next batch can wait, the trainer may be waiting

    def worker_died(self, worker: int, death: Death) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        lost = self._ledger.worker_died(worker)
        if lost is None:
            self.notice(f"worker {worker} {death}")
        else:
            self.notice(f"worker {worker} {death}; the batch of step {lost.step} is made again")
            place, image = in_hand(self._memory, lost.slot, self._welcome.slot_bytes)
            if self._suspects.blame(lost.step, place, death):
                self._quarantine(lost.step, place, image, death)
            elif self._suspects.kills(lost.step) == MAX_KILLS:
                text = f"the batch of step {lost.step} killed {MAX_KILLS} workers; see the data server's log"
                self.failed(Failure(text, False))
        self._advance()

    def _quarantine(self, step: int, place: int, image: str, death: Death) -> None:
        """The sample at `place` of `step` is poison: names it, and ends the stream or goes on without it."""
        planned = self._plan.batch(step).indices
        index = self._suspects.indices(step, planned, self._welcome.images)[place - 1]
        replaced = self._hello.config["feed"]["on_bad_sample"] == "replace"
        reason = f"a worker that had nothing else in hand {death}"
        message = Quarantined(step, index, image, reason, replaced)
        self.meter.quarantined += 1
        self._server.log(f"stream {self.name}: image {image!r} is quarantined: {reason}")
        if self.client is None:
            self._untold.append(message)
        else:
            self.client.tell(message)
        if not replaced:
            text = (
                f"image {image!r} kills the worker that loads it (batch of step {step}, index {index}): "
                f"{reason}; take it out of the data set, or set feed.on_bad_sample='replace'"
            )
            self.failed(Failure(text, True))
        elif self._suspects.replace(step, place) == min(MAX_MOVES, self._welcome.images):
            self.failed(Failure(f"{MAX_MOVES} images in a row kill workers, the last is {image!r}", True))

    def evaluated(self, answer: Metrics | Failure) -> None:
        reach("server.metrics")
        if isinstance(answer, Failure):
            self.failed(answer)
        else:
            self.meter.evaluations += 1
            self._server.send(self.client.identity, answer)

    def failed(self, failure: Failure) -> None:
        """Tells the client why, on the lifeline, and ends the stream."""
        self._server.log(f"stream {self.name}: {failure.text}")
        if self.client is not None:
            self.client.tell(failure)
        self._server.close(self)

    def notice(self, text: str) -> None:
        self._server.log(f"stream {self.name}: {text}")
        if self.client is not None and self._ledger is not None:
            self._server.send(self.client.identity, Notice(text))

    # ------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Kills the stream's processes and gives its memory back."""
        self.pool.close()
        self._ledger = None
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
        if self.client is not None:
            self.client.lifeline.close()

    def _open(self, facts: Facts, dataset: DatasetFacts) -> None:
        hello, config = self._hello, from_plain(self._hello.config)
        self._plan = Plan.of(config, dataset, hello.seed, hello.rank, hello.world_size)
        steps = self._plan.steps_per_epoch
        slots = config["feed"]["slots"] or self._workers + hello.credits + _SPARE_SLOTS
        if slots < hello.credits:
            raise UserError(f"config key 'feed.slots' is {slots}; expected feed.credits={hello.credits} or more")
        slot_bytes = slot_bytes_for(dataset.payload_bytes(config))
        plan = MemoryPlan(slots, slot_bytes, facts.nursery_bytes, self._workers, facts.worker_bytes)
        self._memory = self._allocate(plan)
        reach("server.arena")
        self._welcome = Welcome(facts.classes, facts.images, facts.fingerprint, steps, slots, slot_bytes, str(plan))
        self._resume_at = self._cursor(hello.epoch, hello.step)
        end = hello.epochs * steps if hello.epochs else None
        self._ledger = Ledger(slots, self._resume_at, end, hello.credits)
        self.meter.ledger, self.meter.memory_bytes = self._ledger, plan.total
        self._server.log(f"stream {self.name}: {facts.images} images, {steps} steps per epoch, memory plan {plan}")
        self._send_welcome()
        self.pool.open(slots, slot_bytes, self._memory)
        self._observe()

    def _allocate(self, plan: MemoryPlan) -> int:
        """The arena's memory. Raises UserError when there is too little."""
        try:
            plan.check()
            return create_memory(plan.slots, plan.slot_bytes)
        except (UserError, OSError) as error:
            if self._server.make_room():
                return self._allocate(plan)
            if isinstance(error, OSError):
                raise UserError(f"too little memory: the plan is {plan}: {error.strerror}") from None
            raise

    def _send_welcome(self) -> None:
        shown = read_only(self._memory)
        self.client.tell(self._welcome, shown)
        os.close(shown)
        reach("server.welcomed")

    def _cursor(self, epoch: int, step: int) -> int:
        return epoch * self._plan.steps_per_epoch + step

    def _advance(self) -> None:
        """Hands out what the ledger allows: work to idle workers, batches to the client."""
        if self._ledger is None:  # closed meanwhile
            return
        while self._idle and (assignment := self._ledger.assign(self._idle[0])):
            worker, step = self._idle.pop(0), assignment.step
            batch = self._plan.batch(step)
            indices = self._suspects.indices(step, batch.indices, self._welcome.images)
            samples = [list(pair) for pair in zip(indices, batch.seeds, strict=True)]
            suspect = self._suspects.suspect(step)
            self._recipes[assignment.slot] = batch
            self.pool.assign(worker, Assign(step, assignment.slot, assignment.generation, samples, suspect))
            reach("server.assigned")
        if self.client is not None:
            self._deliver(self.client)
        if self._ledger is not None:
            self._observe()

    def _deliver(self, client: Client) -> None:
        while lease := self._ledger.lease():
            batch, wrote = self._recipes[lease.slot], self._written.pop(lease.slot)
            message = Batch(
                batch.epoch, lease.step, lease.slot, lease.generation, wrote.layout, wrote.digest, batch.valid
            )
            reach("server.leased")
            client.tell(message)
            client.was_given(message)
            self.meter.delivered(Layout.from_wire(wrote.layout, self._welcome.slot_bytes).nbytes)
            reach("server.batch")
        if self._ledger.finished and not client.ended:
            client.ended = True
            client.tell(EndOfStream(client.digest))
        if client.deaf:
            self.failed(Failure("the trainer does not read what it is sent", False))

    def _observe(self) -> None:
        self.meter.observe(read=self.client is not None, all_idle=len(self._idle) == self._workers)
