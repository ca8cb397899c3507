"""The processes of one stream: its nursery and its workers. Starts them, watches them, replaces the dead.

    nursery:   forked ──STARTED──► building ──FACTS──► spawns workers and evaluators; ──PROOF──► and proxies
                  └───────────────────┴─────┬─────────────┘
                                     EOF: dead, another is forked

    worker:    spawned ──STARTED──► idle ──ASSIGN──► busy ──WROTE──► idle, or recycled when it has grown too large
                  └─────────────────┴───────┬─────────┘
                            EXITED from its nursery; or pidfd readable, when its nursery is dead
                                            └──► its slot goes back, another is spawned

A worker's nursery reaps it and reports how it died; a nursery's own death is the EOF of its socket. A nursery takes its
workers with it; the pool then has the server fork a new one, builds the data set again and continues. Decisions about
slots and steps are not made here but in the ledger, and who hangs or grows is the watchdog's matter. What dies again
and again before it has done anything ends the stream.

A worker on another host is here a process like any other, its proxy. It says STARTED when there is a worker for it on
its node, however late that is, and REFUSED when that node makes other bytes; when a node leaves, its proxies are ended.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from data_server.handover.far_link import Place
from data_server.machine.kills import out_of_memory_kills
from data_server.machine.memory import MIB
from data_server.serving.blame import Death
from data_server.serving.child import Child, Work
from data_server.serving.construction import Construction
from data_server.serving.costs import Costs
from data_server.serving.evaluation import Evaluations
from data_server.serving.far_workers import FarWorkers
from data_server.serving.loop import Callback, Loop
from data_server.serving.meter import Meter, cause_of
from data_server.serving.nodes import Nodes
from data_server.serving.watchdog import LOOK_SECONDS, Watchdog
from shared.channel import Channel, ChannelClosed, NoDescriptorLeft
from shared.messages import (
    Assign,
    Build,
    Exited,
    Facts,
    Failure,
    Lost,
    MessageError,
    Notice,
    Proof,
    Prove,
    Refused,
    Spawn,
    Started,
    Wrote,
)

MAX_STILLBORN = 3
_SPAWN_AGAIN_SECONDS = 1.0  # until there may be descriptors again


class Events(Protocol):
    """What a pool reports to its stream. Restarts are counted in `meter`; `last_words` says where to find what a
    process has said before it died."""

    meter: Meter
    last_words: str

    def built(self, facts: Facts, memory: int) -> None:
        """The data set is built; `memory` is a descriptor of the per-image facts and becomes the stream's."""

    def worker_idle(self, worker: int) -> None: ...

    def worker_wrote(self, worker: int, message: Wrote) -> None: ...

    def worker_died(self, worker: int, death: Death) -> None: ...

    def failed(self, failure: Failure) -> None: ...

    def notice(self, text: str) -> None: ...


class Pool:
    """The nursery and the workers of one stream.

    Args:
        fork_nursery: has the root nursery fork a stream's nursery; returns its channel.
        nodes: where there is room for workers beside the `workers` on this host.

    Attributes:
        evaluations: what a trainer wants to be judged.
    """

    def __init__(
        self,
        loop: Loop,
        events: Events,
        config: dict[str, Any],
        workers: int,
        fork_nursery: Callable[[], Channel],
        nodes: Nodes | None = None,
    ) -> None:
        self._loop = loop
        self._events = events
        self._config = config
        self._wanted = workers
        self._fork_nursery = fork_nursery
        self._nodes = nodes
        self.far = FarWorkers(nodes)
        self._costs = Costs(nodes.receiving if nodes is not None else None)
        if nodes is not None:
            nodes.listeners.append(self._nodes_changed)
        self._workers: dict[int, Child] = {}
        self._next_worker = 0
        self._arena: tuple[int, int, int] | None = None
        self._watchdog = Watchdog(loop, config["feed"], self._workers, events.notice, events.failed)
        self._out_of_memory_kills = out_of_memory_kills()
        self.evaluations = Evaluations(loop, events.notice, events.last_words)
        self._built = False
        self._proving = self._proven = False  # by the nursery that is there
        self._stillborn_nurseries = 0
        self._stillborn_workers = 0
        self._start_nursery()

    def open(self, slots: int, slot_bytes: int, memory: int, far: int) -> None:
        """The arena is there: spawns all workers, and proxies for at most `far` on other hosts. `memory` stays the
        caller's and must stay open."""
        self._arena = (slots, slot_bytes, memory)
        self.far.open(self._wanted, far)
        self._fill()

    def assign(self, worker: int, assignment: Assign) -> None:
        """Gives an idle worker its next batch. If it has just died, its pidfd tells."""
        self._workers[worker].work = Work(assignment)
        with contextlib.suppress(ChannelClosed):
            self._workers[worker].channel.send(assignment)
        assert self._arena is not None
        _, slot_bytes, memory = self._arena
        self._watchdog.begin(memory, slot_bytes)

    def delivered(self, idle: int, *, waited: bool) -> None:
        """The trainer has been given a batch: it `waited` for it while no worker was idle, or there were some. `idle`
        are so now."""
        if line := self.far.delivered(self._workers.values(), idle, waited=waited, worth=self._costs.worth):
            self._events.notice(line)

    @property
    def started(self) -> int:
        """How many workers are there that can be given work, or have some."""
        return sum(process.pidfd is not None for process in self._workers.values())

    def close(self) -> None:
        """Kills everybody; nothing of the stream is running when this returns, or will be within microseconds."""
        if self._nodes is not None and self._nodes_changed in self._nodes.listeners:
            self._nodes.listeners.remove(self._nodes_changed)
        self.far.close()
        self._watchdog.stop()
        for timer in (self._look_at_nursery, self._fill):
            self._loop.cancel(timer)
        for process in (self._nursery, *self._workers.values()):
            process.kill()
            process.forget(self._loop)
        self._workers.clear()
        self._built = False
        self.evaluations.cancel()

    def _start_nursery(self) -> None:
        self._built = self._proving = self._proven = False
        self._construction = Construction(self._config["dataset"])
        self._loop.after(LOOK_SECONDS, self._look_at_nursery)
        self._nursery = Child(self._fork_nursery())
        self._watch(self._nursery.channel, self._nursery_speaks)
        with contextlib.suppress(ChannelClosed):  # dead already: its EOF is in the poll loop
            self._nursery.channel.send(Build(self._config))

    def _watch(self, channel: Channel, speaks: Callback) -> None:
        """`speaks` is called when there is something to read, and ends the stream where no descriptor is left for that;
        nothing that is sent waits for the process to read."""

        def hear() -> None:
            try:
                speaks()
            except NoDescriptorLeft as error:
                self._events.failed(Failure(f"the data server cannot go on with it: {error}", False))

        self._loop.watch(channel.fileno(), hear)
        channel.never_wait(partial(self._loop.when_writable, channel.fileno()))

    def _nursery_speaks(self) -> None:
        try:
            messages = self._nursery.channel.read(Started, Facts, Proof, Failure, Exited, Notice)
        except (ChannelClosed, MessageError):
            self._nursery_died()
            return
        for message in messages:
            match message:
                case Failure():
                    self._events.failed(message)
                    return
                case Started():
                    self._nursery.started()
                case Notice():
                    self._events.notice(message.text)
                case Exited():
                    self._worker_exited(message)
                case Facts():
                    self._stillborn_nurseries = 0
                    self._watchdog.planned = message.worker_bytes
                    self._built = True
                    self._events.built(message, self._nursery.channel.take_descriptors(1)[0])
                    self._fill()
                    self.evaluations.built(self._nursery)
                case Proof():
                    self._proven = True
                    self._fill()

    def _look_at_nursery(self) -> None:
        if not self._built:
            self._construction.look(self._nursery)
            self._loop.after(LOOK_SECONDS, self._look_at_nursery)

    def _nursery_died(self) -> None:
        self._nursery.kill()
        if not self._built:
            self._stillborn_nurseries += 1
            if self._construction.lacked_memory:  # as the next one would
                text = f"out of memory while building {self._construction}; free some memory, or use a larger machine"
                self._events.failed(Failure(text, True))
                return
        if self._stillborn_nurseries == MAX_STILLBORN:
            text = f"the process that builds the data set died {MAX_STILLBORN} times; {self._events.last_words}"
            self._events.failed(Failure(f"{text} ({self._construction})", False))
            return
        self._nursery.forget(self._loop)
        self.evaluations.nursery_died()
        self._events.meter.nursery_restarts += 1
        self._events.notice("the process that holds the data set died; building it again")
        orphans = [number for number, worker in self._workers.items() if worker.nursery is self._nursery]
        self._start_nursery()
        for worker in orphans:
            process = self._workers.get(worker)
            if process is None:  # the one before was one too many: the stream is closed
                return
            if process.pidfd is None and process.address:
                self._workers.pop(worker).forget(self._loop)
            elif process.pidfd is None:
                self._stillborn(worker)
            else:
                process.kill()
                self._loop.watch(process.pidfd, partial(self._bury, worker, Death(known=False)))

    def _fill(self) -> None:
        """Spawns workers until as many are there as wanted, those of this host first."""
        if not self._arena or not self._built:
            return
        while sum(not process.address for process in self._workers.values()) < self._wanted:
            if not self._spawn(self._arena):
                return
        if not self._proven:
            self._prove()
            return
        while node := self.far.vacancy(process.address for process in self._workers.values()):
            if not self._spawn(self._arena, node.place):
                return

    def _prove(self) -> None:
        """Has the nursery make what proxies compare, which may take minutes; once, where there is a node."""
        if self.far.nodes and not self._proving:
            self._proving = True
            with contextlib.suppress(ChannelClosed):  # dead already: its EOF is in the poll loop
                self._nursery.channel.send(Prove())

    def _spawn(self, arena: tuple[int, int, int], place: Place | None = None) -> bool:
        """A worker here, or the proxy of one at `place`; returns whether there were descriptors left for it."""
        slots, slot_bytes, memory = arena
        worker = self._next_worker
        try:
            channel, theirs = Channel.pair()
            with theirs, contextlib.suppress(ChannelClosed):  # dead already: its EOF is in the poll loop
                order = Spawn(worker, slots, slot_bytes, place.wire if place else [])
                self._nursery.channel.send(order, theirs.fileno(), memory)
        except NoDescriptorLeft:
            self._loop.after(_SPAWN_AGAIN_SECONDS, self._fill)
            return False
        self._next_worker += 1
        self._workers[worker] = Child(channel, self._nursery, place.address if place else "")
        self._watch(channel, partial(self._worker_speaks, worker))
        return True

    def _nodes_changed(self) -> None:
        """Ends the proxies of nodes that have left or are refused, and has some forked for those that have come."""
        for worker, process in list(self._workers.items()):
            if process.address and process.address not in self.far.nodes:
                process.kill()
                if process.pidfd is None:  # its channel's end of file ends it
                    self._workers.pop(worker).forget(self._loop)
        self._fill()

    def _worker_speaks(self, worker: int) -> None:
        process = self._workers[worker]
        try:
            messages = process.channel.read(Started, Wrote, Failure, Notice, Lost, Refused)
        except (ChannelClosed, MessageError):  # its nursery will report how it died
            self._loop.forget(process.channel.fileno())
            process.kill()
            return
        for message in messages:
            match message:
                case Wrote():  # the first, as there are a thousand of them for each of the others
                    process.work = None
                    self._events.meter.far_batches += bool(process.address)
                    if line := self._costs.add(message, bool(process.address)):
                        self._events.notice(line)
                    self._events.worker_wrote(worker, message)
                    if worker not in self._workers:  # the trainer does not read: the stream is closed
                        return
                    if message.memory > self._watchdog.memory_limit:
                        self._recycle(worker, message)
                        return
                case Failure():
                    self._events.failed(message)
                    return
                case Notice():
                    self._events.notice(message.text)
                    continue
                case Lost():  # its far worker took too much memory, and was killed
                    process.condemn(Death(signal.SIGKILL, out_of_memory=True, verdict=message.verdict))
                    return
                case Refused():
                    self._events.notice(message.text)
                    self.far.refuse(process.address)
                    self._nodes_changed()
                    return
                case Started():
                    try:
                        process.started()
                    except NoDescriptorLeft:  # its channel's end of file ends it
                        self._workers.pop(worker).forget(self._loop)
                        self._loop.after(_SPAWN_AGAIN_SECONDS, self._fill)
                        return
                    if process.address:
                        self._admit(process.address)
                    else:
                        self._stillborn_workers = 0
            self._events.worker_idle(worker)

    def _recycle(self, worker: int, wrote: Wrote) -> None:
        """Between two batches, so the stream loses nothing."""
        self._events.notice(
            f"worker {worker} held {wrote.memory / MIB:.0f} MiB before the batch of step {wrote.step} "
            f"(feed.worker_memory={self._watchdog.memory_limit // MIB}); a fresh one takes its place"
        )
        self._workers[worker].recycled = True
        self._workers[worker].kill()

    def _worker_exited(self, message: Exited) -> None:
        if message.worker not in self._workers:
            return
        if self._workers[message.worker].pidfd is None:
            if address := self._workers[message.worker].address:
                self._stillborn_proxy(message.worker, address)
            else:
                self._stillborn(message.worker)
            return
        kills, self._out_of_memory_kills = self._out_of_memory_kills, out_of_memory_kills()
        # A proxy ends itself as its far worker has ended, and this host has not killed that.
        here = not self._workers[message.worker].address
        out_of_memory = here and message.signal == signal.SIGKILL and self._out_of_memory_kills > kills
        self._bury(message.worker, Death(message.signal, message.code, out_of_memory))

    def _bury(self, worker: int, death: Death) -> None:
        """The worker is known to be dead: nobody writes its slot any more."""
        process = self._workers.pop(worker)
        process.forget(self._loop)
        death = process.sentence or death
        if process.recycled:
            cause = "recycled"
        elif process.address and death.known and not (death.signal or death.code):
            cause = "unreachable"  # a proxy that has lost its far end
        else:
            cause = cause_of(death)
        self._events.meter.worker_restarts[cause] += 1
        if not process.recycled:
            self._events.worker_died(worker, death)
        self._fill()

    def _stillborn(self, worker: int) -> None:
        """The worker died before it could say who it is: it was never given a slot."""
        self._workers.pop(worker).forget(self._loop)
        self._stillborn_workers += 1
        self._events.meter.worker_restarts["stillborn"] += 1
        if self._stillborn_workers == MAX_STILLBORN * self._wanted:
            self._events.failed(Failure(f"no worker can be started; {self._events.last_words}", False))
        self._fill()

    def _admit(self, address: str) -> None:
        if place := self.far.admit(address):
            self._events.notice(f"{place} makes the same bytes as this host; its workers begin")

    def _stillborn_proxy(self, worker: int, address: str) -> None:
        """That is the node's matter, and no reason to end the stream."""
        self._workers.pop(worker).forget(self._loop)
        self._events.meter.worker_restarts["stillborn"] += 1
        if self.far.stillborn(address):
            self._events.notice(f"far workers at {address} die before they begin; none is used for this stream")
        self._nodes_changed()
