"""The processes of one stream: its nursery and its workers. Starts them, watches them, replaces the dead.

    nursery:   forked ──STARTED──► building ──FACTS──► spawns workers and evaluators
                  └───────────────────┴─────┬─────────────┘
                                     EOF: dead, another is forked

    worker:    spawned ──STARTED──► idle ──ASSIGN──► busy ──WROTE──► idle
                  └─────────────────┴───────┬─────────┘
                                     pidfd readable: dead ──► its slot goes back, another is spawned

A worker's death is known from its pidfd, a nursery's from the EOF of its socket. A nursery takes its workers with it;
the pool then has the server fork a new one, builds the data set again and goes on. Decisions about slots and steps are
not made here but in the ledger. What dies again and again before it has done anything ends the stream.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

from data_server.loop import Loop
from data_server.predictions import store
from shared.link import Channel, ChannelClosed
from shared.messages import (
    Assign,
    Build,
    Facts,
    Failure,
    MessageError,
    Metrics,
    Predictions,
    Spawn,
    SpawnEvaluator,
    Started,
    Wrote,
)

MAX_STILLBORN = 3


class Events(Protocol):
    """What a pool tells its stream."""

    def built(self, facts: Facts, memory: int) -> None:
        """The data set is built; `memory` is a descriptor of the per-image facts and becomes the stream's."""

    def worker_idle(self, worker: int) -> None: ...

    def worker_wrote(self, worker: int, message: Wrote) -> None: ...

    def worker_died(self, worker: int) -> None: ...

    def evaluated(self, answer: Metrics | Failure) -> None: ...

    def failed(self, failure: Failure) -> None: ...

    def notice(self, text: str) -> None: ...


class _Process:
    """A nursery or worker: its channel and, once it has said STARTED, its pidfd."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.pidfd: int | None = None

    def started(self) -> None:
        (self.pidfd,) = self.channel.take_descriptors(1)

    def kill(self) -> None:
        if self.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def forget(self, loop: Loop) -> None:
        loop.forget(self.channel.fileno())
        self.channel.close()
        if self.pidfd is not None:
            loop.forget(self.pidfd)
            os.close(self.pidfd)


class Pool:
    """The nursery and the workers of one stream.

    Args:
        fork_nursery: has the root nursery fork a stream's nursery; returns its channel.
    """

    def __init__(
        self, loop: Loop, events: Events, config: dict[str, Any], workers: int, fork_nursery: Callable[[], Channel]
    ) -> None:
        self._loop = loop
        self._events = events
        self._config = config
        self._wanted = workers
        self._fork_nursery = fork_nursery
        self._workers: dict[int, _Process] = {}
        self._next_worker = 0
        self._arena: tuple[Spawn, int] | None = None
        self._evaluator: Channel | None = None
        self._built = False
        self._stillborn_nurseries = 0
        self._stillborn_workers = 0
        self._start_nursery()

    def open(self, arena: Spawn, memory: int) -> None:
        """The arena is there: spawns all workers. `memory` stays the caller's and must stay open."""
        self._arena = (arena, memory)
        self._fill()

    def assign(self, worker: int, assignment: Assign) -> None:
        """Gives an idle worker its next batch. If it has just died, its pidfd tells."""
        with contextlib.suppress(ChannelClosed):
            self._workers[worker].channel.send(assignment)

    @property
    def evaluating(self) -> bool:
        return self._evaluator is not None

    def evaluate(self, evaluator: list, records: list[tuple[Predictions, bytes]]) -> None:
        """Has an evaluator forked for `records`; its answer comes as `Events.evaluated`."""
        self._evaluator, theirs = Channel.pair()
        memory = store(records)
        # If the nursery has just died, the evaluator's socket goes down with the message: an EOF like any other.
        with contextlib.suppress(ChannelClosed):
            self._nursery.channel.send(SpawnEvaluator(evaluator), theirs.fileno(), memory)
        theirs.close()
        os.close(memory)
        self._loop.watch(self._evaluator.fileno(), self._evaluator_speaks)

    def close(self) -> None:
        """Kills everybody; nothing of the stream is running when this returns, or will be within microseconds."""
        for process in (self._nursery, *self._workers.values()):
            process.kill()
            process.forget(self._loop)
        self._workers = {}
        self._built = False
        if self.evaluating:
            self._forget_evaluator()

    def _start_nursery(self) -> None:
        self._built = False
        self._nursery = _Process(self._fork_nursery())
        self._loop.watch(self._nursery.channel.fileno(), self._nursery_speaks)
        with contextlib.suppress(ChannelClosed):  # dead already: its EOF is in the poll loop
            self._nursery.channel.send(Build(self._config))

    def _nursery_speaks(self) -> None:
        try:
            messages = self._nursery.channel.read(Started, Facts, Failure)
        except (ChannelClosed, MessageError):
            self._nursery_died()
            return
        for message in messages:
            if isinstance(message, Failure):
                self._events.failed(message)
                return
            if isinstance(message, Started):
                self._nursery.started()
            else:
                self._stillborn_nurseries = 0
                self._built = True
                self._events.built(message, self._nursery.channel.take_descriptors(1)[0])
                self._fill()

    def _nursery_died(self) -> None:
        self._nursery.kill()
        if not self._built:
            self._stillborn_nurseries += 1
        if self._stillborn_nurseries == MAX_STILLBORN:
            text = f"the process that builds the data set died {MAX_STILLBORN} times; see the data server's log"
            self._events.failed(Failure(text, False))
            return
        self._nursery.forget(self._loop)
        self._events.notice("the process that holds the data set died; building it again")
        self._start_nursery()

    def _fill(self) -> None:
        """Spawns workers until as many are there as wanted."""
        while self._arena and self._built and len(self._workers) < self._wanted:
            arena, memory = self._arena
            channel, theirs = Channel.pair()
            worker = self._next_worker
            self._next_worker += 1
            self._workers[worker] = _Process(channel)
            self._loop.watch(channel.fileno(), lambda worker=worker: self._worker_speaks(worker))
            # If the nursery has just died, the worker's socket goes down with the message: an EOF like any other.
            with contextlib.suppress(ChannelClosed):
                self._nursery.channel.send(arena, theirs.fileno(), memory)
            theirs.close()

    def _worker_speaks(self, worker: int) -> None:
        process = self._workers[worker]
        try:
            messages = process.channel.read(Started, Wrote, Failure)
        except (ChannelClosed, MessageError):
            process.kill()
            self._loop.forget(process.channel.fileno())
            if process.pidfd is None:
                self._stillborn(worker)
            return
        for message in messages:
            if isinstance(message, Failure):
                self._events.failed(message)
                return
            if isinstance(message, Started):
                self._stillborn_workers = 0
                process.started()
                self._loop.watch(process.pidfd, lambda: self._bury(worker))
            else:
                self._events.worker_wrote(worker, message)
            self._events.worker_idle(worker)

    def _bury(self, worker: int) -> None:
        """The worker is known to be dead: nobody writes its slot any more."""
        self._workers.pop(worker).forget(self._loop)
        self._events.worker_died(worker)
        self._fill()

    def _stillborn(self, worker: int) -> None:
        """The worker died before it could say who it is: it was never given a slot."""
        self._workers.pop(worker).forget(self._loop)
        self._stillborn_workers += 1
        if self._stillborn_workers == MAX_STILLBORN * self._wanted:
            self._events.failed(Failure("no worker can be started; see the data server's log", False))
        self._fill()

    def _evaluator_speaks(self) -> None:
        try:
            answers = self._evaluator.read(Metrics, Failure)
        except (ChannelClosed, MessageError):
            answers = [Failure("the evaluator died; its last words are in the data server's log", False)]
        if answers:
            self._forget_evaluator()
            self._events.evaluated(answers[0])

    def _forget_evaluator(self) -> None:
        self._loop.forget(self._evaluator.fileno())
        self._evaluator.close()
        self._evaluator = None
