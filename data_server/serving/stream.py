"""One stream of batches, from HELLO to its end; it may serve several trainers, one after the other.

    BUILDING ──facts──► OPEN ◄──HELLO of the same stream── DORMANT ──feed.linger_seconds──► CLOSED
        │                │ └──────lifeline EOF──────────────► │                               ▲
        └────────────────┴──failure, GOODBYE──────────────────┴───────────────────────────────┘

It brings together the batches (what is in each, who makes it, which is next), the pool (the processes that make them)
and the client (who gets them). What there is in one state and not in another is in the class of that state.

A stream whose trainer was killed goes back to the trainer's last checkpoint and fills its slots from there, so that a
new trainer which resumes from it finds its first batches ready.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from data_server.handover.facts import DatasetFacts
from data_server.handover.predictions import check_room
from data_server.machine.memory import MIB
from data_server.serving.batches import MAX_MOVES, Batches, Poison
from data_server.serving.blame import MAX_KILLS, Death
from data_server.serving.client import Client
from data_server.serving.ledger import ProtocolError
from data_server.serving.meter import Meter, Stall
from data_server.serving.pool import Pool
from data_server.serving.states import Building, Closed, Dormant, Open
from shared.data_part import check_data_part
from shared.datasets import names_of
from shared.errors import UserError
from shared.faults import reach
from shared.messages import (
    Checkpointed,
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
    Wrote,
)

MAX_CURSOR = 1 << 31  # epochs, and steps in one, so that a step counted from the first epoch fits into a message


def check(hello: Hello) -> None:
    """Raises UserError for a HELLO that makes no sense."""
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
    if not 0 <= hello.predicted < MAX_CURSOR:
        raise UserError(f"a stream with predicted={hello.predicted}: expected 0 or a number below {MAX_CURSOR}")
    check_data_part(hello.config)


class Server(Protocol):
    """What a stream needs of the server."""

    @property
    def last_words(self) -> str:
        """Where to find what a process has said before it died."""

    @property
    def own_bytes(self) -> int:
        """Memory that it would hold without any stream."""

    def send(self, identity: bytes, message: Message) -> None: ...

    def close(self, stream: Stream) -> None: ...

    def make_room(self) -> bool:
        """Closes the stream that nobody has read for longest; returns whether there was one."""

    def in_loop(self, callback: Callable[[], None]) -> None:
        """Has `callback` called where everything else is; called by other threads."""

    def log(self, text: str) -> None: ...


class Stream:
    """One stream.

    Args:
        client: the trainer that opens it.
        hello: its HELLO, which has passed `check`.
        make_pool: builds the pool that reports to this stream, from the data part of the config.
    """

    def __init__(
        self,
        server: Server,
        client: Client,
        hello: Hello,
        workers: int,
        make_pool: Callable[[Stream, dict[str, Any]], Pool],
    ) -> None:
        self.name = f"{hello.stream} of {client.identity.hex()[:6]}"
        self.linger_seconds: float = hello.config["feed"]["linger_seconds"]
        self._server = server
        self._hello = hello
        self._workers = workers
        self._state: Building | Open | Dormant | Closed = Building(client)
        self._first: DatasetFacts | None = None  # what its batches were planned for
        self.meter = Meter()
        self.last_words = server.last_words
        self.pool = make_pool(self, hello.config)

    @property
    def client(self) -> Client | None:
        """The trainer that waits for it or is served; None while it is dormant, and at its end."""
        return self._state.client if isinstance(self._state, Building | Open) else None

    # The client's life ------------------------------------------------------------------------------------------------

    def fits(self, hello: Hello) -> bool:
        """Whether a trainer that says `hello` wants this very stream, at any step."""
        return replace(hello, epoch=0, step=0, digest="") == replace(self._hello, epoch=0, step=0, digest="")

    def attach(self, client: Client, hello: Hello) -> None:
        """DORMANT -> OPEN: a trainer takes the place of one that died."""
        assert isinstance(self._state, Dormant)
        batches, untold = self._state.batches, self._state.untold
        self._state = Open(client, batches)
        batches.checkpointed(hello.epoch, hello.step)
        batches.rewind()
        reach("server.attached")
        self._server.log(f"stream {self.name}: taken over by {client.identity.hex()[:6]} at step {batches.resume_at}")
        self._state.welcome()
        for message in untold:
            client.tell(message)
        self._advance()

    def detach(self) -> bool:
        """The client is dead. Returns whether the stream continues: OPEN -> DORMANT."""
        if not isinstance(self._state, Open) or self.linger_seconds == 0:
            return False
        self._state.client.leave()
        self._state = Dormant(self._state.batches)
        self.pool.evaluations.cancel()
        self._state.batches.rewind()
        reach("server.detached")
        self._advance()
        return True

    # What the client says ---------------------------------------------------------------------------------------------

    def on_lifeline(self, message: Release | Checkpointed) -> None:
        """What comes over the lifeline. Raises ProtocolError for what does not fit the stream's state."""
        batches = self._open_for(message).batches
        match message:
            case Release():
                batches.ledger.release(message.slot, message.generation)
                reach("server.released")
                self._advance()
            case Checkpointed():
                if max(message.epoch, message.step) >= MAX_CURSOR:
                    raise ProtocolError(f"CHECKPOINTED at epoch {message.epoch}, step {message.step}")
                batches.checkpointed(message.epoch, message.step)
                reach("server.checkpointed")

    def on_control(self, message: Predictions | Evaluate | Goodbye, frames: list[bytes]) -> None:
        """What comes over the control channel. Raises ProtocolError or MessageError for what does not fit the stream's
        state."""
        match message:
            case Predictions():
                self._keep(self._open_for(message).client, message, frames)
            case Evaluate():
                client = self._open_for(message).client
                if self.pool.evaluations.waiting:
                    raise ProtocolError("EVALUATE before the METRICS of another")
                answered = partial(self._evaluated, client)
                self.pool.evaluations.order(message.evaluator, client.take_predictions(), answered)
                reach("server.evaluate")
            case Goodbye():
                reach("server.goodbye")
                self._server.close(self)

    def _open_for(self, message: Message) -> Open:
        if not isinstance(self._state, Open):
            raise ProtocolError(f"{type(message).__name__} before WELCOME")
        return self._state

    def _keep(self, client: Client, message: Predictions, frames: list[bytes]) -> None:
        reach("server.predictions")
        try:
            client.keep(message, frames)
        except UserError as error:
            self.failed(Failure(str(error), True))

    # What the pool says -----------------------------------------------------------------------------------------------

    def built(self, facts: Facts, memory: int) -> None:
        dataset = DatasetFacts.received(facts, memory)
        reach("server.built")
        if self._first is not None:  # the nursery had died; the stream continues as planned, if it can
            if change := dataset.change_since(self._first):
                self.failed(Failure(f"{names_of(self._hello.config['dataset'])}: {change}", True))
            return
        self._first = dataset
        if isinstance(self._state, Building):
            try:
                self._open(self._state.client, facts, dataset)
            except UserError as error:
                self.failed(Failure(str(error), True))

    def worker_idle(self, worker: int) -> None:
        self._at_work.batches.worker_idle(worker)
        self._advance()

    def worker_wrote(self, worker: int, message: Wrote) -> None:
        reach("server.wrote")
        if not self._at_work.batches.wrote(worker, message):
            return
        self.meter.replaced += len(message.replaced)
        for line in message.replaced:
            self.notice(f"{line}; replaced by the next sample")
        if isinstance(self._state, Open):
            self._deliver(self._state)  # first of all: the worker's next batch can wait, the trainer may be waiting

    def worker_died(self, worker: int, death: Death) -> None:
        state = self._at_work
        lost = state.batches.worker_died(worker)
        if lost is None:
            self.notice(f"worker {worker} {death}")
        else:
            self.notice(f"worker {worker} {death}; the batch of step {lost.step} is made again")
            if poison := state.batches.blame(lost, death):
                self._quarantine(state, poison, death)
            elif state.batches.kills_too_many(lost.step):
                text = f"the batch of step {lost.step} killed {MAX_KILLS} workers; {self.last_words}"
                self.failed(Failure(text, False))
        self._advance()

    def failed(self, failure: Failure) -> None:
        """Tells the client why, on the lifeline, and ends the stream."""
        self._server.log(f"stream {self.name}: {failure.text}")
        if self.client is not None:
            self.client.tell(failure)
        self._server.close(self)

    def notice(self, text: str) -> None:
        self._server.log(f"stream {self.name}: {text}")
        if self.client is not None:
            self._server.send(self.client.identity, Notice(text))

    @property
    def _at_work(self) -> Open | Dormant:
        """The state, which is one of these from the first worker's birth to the last one's death."""
        assert isinstance(self._state, Open | Dormant)
        return self._state

    def _quarantine(self, state: Open | Dormant, poison: Poison, death: Death) -> None:
        """Names the sample, and ends the stream or continues without it."""
        replaced = self._hello.config["feed"]["on_bad_sample"] == "replace"
        reason = f"a worker that was loading nothing else {death}"
        message = Quarantined(poison.step, poison.index, poison.image, reason, replaced)
        self.meter.quarantined += 1
        self._server.log(f"stream {self.name}: image {poison.image!r} is quarantined: {reason}")
        state.quarantined(message)
        if not replaced:
            text = (
                f"image {poison.image!r} kills the worker that loads it (batch of step {poison.step}, "
                f"index {poison.index}): {reason}; remove it from the data set, or set feed.on_bad_sample='replace'"
            )
            self.failed(Failure(text, True))
        elif state.batches.replace(poison):
            self.failed(Failure(f"{MAX_MOVES} images in a row kill workers, the last is {poison.image!r}", True))

    def _evaluated(self, client: Client, answer: Metrics | Failure) -> None:
        reach("server.metrics")
        if isinstance(answer, Failure):
            self.failed(answer)
        else:
            self.meter.evaluations += 1
            self._server.send(client.identity, answer)

    # ------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Kills the stream's processes and gives its memory back."""
        self.pool.close()
        if isinstance(self._state, Open | Dormant):
            os.close(self._state.batches.memory)
        if isinstance(self._state, Building | Open):
            self._state.client.leave()
        self._state = Closed()

    def _open(self, client: Client, facts: Facts, dataset: DatasetFacts) -> None:
        """BUILDING -> OPEN. Raises UserError as `Batches.of` does, and where predictions have no room."""
        if self._hello.predicted:
            check_room(facts.images, self._hello.predicted)
        planned = partial(self._server.in_loop, self._advance)
        far = (self.pool.far.count, self.pool.far.most)
        batches = Batches.of(self._hello, facts, dataset, self._workers, self._server.make_room, planned, far)
        reach("server.arena")
        welcome = batches.welcome
        self._state = Open(client, batches)
        self.meter.ledger, self.meter.memory_bytes = batches.ledger, batches.memory_plan.total
        epoch = f"{welcome.images} images, {welcome.steps_per_epoch} steps per epoch"
        own = f"{self._server.own_bytes / MIB:.0f} MiB of the data server's own"
        self._server.log(f"stream {self.name}: {epoch}, memory plan {welcome.plan}, beside {own}")
        self._state.welcome()
        self.pool.open(welcome.slots, welcome.slot_bytes, batches.memory, batches.memory_plan.far)
        self._observe(self._state)

    def _advance(self) -> None:
        """Hands out what the ledger allows: work to idle workers, batches to the client."""
        state = self._state
        if not isinstance(state, Open | Dormant):  # closed meanwhile
            return
        while work := state.batches.assign():
            self.pool.assign(*work)
            reach("server.assigned")
        if isinstance(state, Open):
            self._deliver(state)
        self._observe(state)

    def _deliver(self, state: Open) -> None:
        before, waited = self.meter.batches, self.meter.stall is Stall.DATA and not state.batches.idle
        state.deliver(self.meter)
        if self.meter.batches > before:
            self.pool.delivered(state.batches.idle, waited=waited)
        if state.client.deaf:
            self.failed(Failure("the trainer does not read what it is sent", False))

    def _observe(self, state: Open | Dormant) -> None:
        idle = state.batches.idle
        all_idle = idle >= self._workers and idle >= self.pool.started
        self.meter.observe(read=isinstance(state, Open), all_idle=all_idle)
