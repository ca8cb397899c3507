"""The processes of one stream: its nursery and its workers. Starts them, watches them, replaces the dead.

    worker:    spawned ──WORKER──► idle ──ASSIGN──► busy ──WROTE──► idle
                  └────────────────┴───────┬─────────┘
                                    pidfd readable: dead ──► its slot goes back, another is spawned

A worker's death is known from its pidfd, a nursery's from the EOF of its socket. A nursery takes its workers with it; the pool then has
the server fork a new one, builds the data set again and goes on. Decisions about slots and steps are not made here but in the ledger.
"""

from __future__ import annotations

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
    Worker,
    Wrote,
)


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
    """A worker: its channel and, once it has spoken, its pidfd."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.pidfd: int | None = None
        self.pid = 0


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
        self._nursery: Channel | None = None
        self._start_nursery()

    def open(self, arena: Spawn, memory: int) -> None:
        """The arena is there: spawns all workers. `memory` stays the caller's and must stay open."""
        self._arena = (arena, memory)
        self._fill()

    def assign(self, worker: int, assignment: Assign) -> None:
        """Gives an idle worker its next batch. If it has just died, its pidfd tells."""
        try:
            self._workers[worker].channel.send(assignment)
        except ChannelClosed:
            self._kill(worker)

    def evaluate(self, evaluator: list, records: list[tuple[Predictions, bytes]]) -> None:
        """Has an evaluator forked for `records`; its answer comes as `Events.evaluated`."""
        channel, theirs = Channel.pair()
        memory = store(records)
        try:
            self._nursery.send(SpawnEvaluator(evaluator), theirs.fileno(), memory)
        except ChannelClosed:
            self._events.evaluated(Failure("the data set's process died before the evaluation", False))
            channel.close()
        else:
            self._evaluator = channel
            self._loop.watch(channel.fileno(), self._evaluator_speaks)
        finally:
            theirs.close()
            os.close(memory)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._workers.values() if process.pid]

    def close(self) -> None:
        """Kills everybody; nothing of the stream is running when this returns, or will be within microseconds."""
        for worker in list(self._workers):
            self._kill(worker)
            self._forget(worker)
        for channel in (self._nursery, self._evaluator):
            if channel is not None:
                self._loop.forget(channel.fileno())
                channel.close()
        self._nursery = self._evaluator = None

    def _start_nursery(self) -> None:
        self._nursery = self._fork_nursery()
        self._loop.watch(self._nursery.fileno(), self._nursery_speaks)
        self._nursery.send(Build(self._config))

    def _nursery_speaks(self) -> None:
        try:
            for message in self._nursery.read(Facts, Failure):
                if isinstance(message, Failure):
                    self._events.failed(message)
                    return
                self._events.built(message, self._nursery.take_descriptors(1)[0])
        except (ChannelClosed, MessageError):
            self._loop.forget(self._nursery.fileno())
            self._nursery.close()
            self._events.notice("the process that holds the data set died; building it again")
            self._start_nursery()
            self._fill()

    def _fill(self) -> None:
        """Spawns workers until as many are there as wanted."""
        while self._arena and len(self._workers) < self._wanted:
            arena, memory = self._arena
            channel, theirs = Channel.pair()
            try:
                self._nursery.send(arena, theirs.fileno(), memory)
            except ChannelClosed:
                channel.close()
                return
            finally:
                theirs.close()
            worker = self._next_worker
            self._next_worker += 1
            self._workers[worker] = _Process(channel)
            self._loop.watch(channel.fileno(), lambda worker=worker: self._worker_speaks(worker))

    def _worker_speaks(self, worker: int) -> None:
        process = self._workers[worker]
        try:
            messages = process.channel.read(Worker, Wrote, Failure)
        except (ChannelClosed, MessageError):
            self._kill(worker)
            self._loop.forget(process.channel.fileno())
            if process.pidfd is None:  # it died before it could say who it is
                self._bury(worker)
            return
        for message in messages:
            if isinstance(message, Worker):
                (process.pidfd,) = process.channel.take_descriptors(1)
                process.pid = message.pid
                self._loop.watch(process.pidfd, lambda: self._bury(worker))
                self._events.worker_idle(worker)
            elif isinstance(message, Wrote):
                self._events.worker_wrote(worker, message)
                self._events.worker_idle(worker)
            else:
                self._events.failed(message)
                return

    def _kill(self, worker: int) -> None:
        pidfd = self._workers[worker].pidfd
        if pidfd is not None:
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except ProcessLookupError:
                return

    def _bury(self, worker: int) -> None:
        """The worker is known to be dead: nobody writes its slot any more."""
        process = self._workers[worker]
        self._forget(worker)
        self._events.worker_died(worker)
        self._events.notice(f"worker {worker} (process {process.pid}) died; its batch is made again")
        self._fill()

    def _forget(self, worker: int) -> None:
        process = self._workers.pop(worker)
        self._loop.forget(process.channel.fileno())
        process.channel.close()
        if process.pidfd is not None:
            self._loop.forget(process.pidfd)
            os.close(process.pidfd)

    def _evaluator_speaks(self) -> None:
        try:
            answers = self._evaluator.read(Metrics, Failure)
        except (ChannelClosed, MessageError):
            answers = [Failure("the evaluator died; its last words are in the data server's log", False)]
        if answers:
            self._loop.forget(self._evaluator.fileno())
            self._evaluator.close()
            self._evaluator = None
            self._events.evaluated(answers[0])
