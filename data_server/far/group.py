"""A data set on an agent's host, built once, and the workers forked from it.

BUILD ──FACTS──► PROVE ──PROOF──► ready: a worker for each proxy that joins
  └── FAILURE, or its nursery dies: all that wait are refused
the nursery of a ready one dies: its workers die with it, and so do their proxies, which come again
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from data_server.far.remote import Remote
from data_server.machine.memory import MIB
from data_server.serving.child import Child
from data_server.serving.loop import Loop
from shared.channel import Channel, ChannelClosed, NoDescriptorLeft
from shared.messages import (
    Assign,
    AtWork,
    Build,
    Exited,
    Facts,
    Failure,
    Join,
    Lost,
    Message,
    MessageError,
    Notice,
    Proof,
    Prove,
    Refused,
    Spawn,
    Started,
    Wrote,
)

EMPTY_SECONDS = 60.0  # a data set that nobody uses stays that long: a proxy that died comes again


class Agent(Protocol):
    """What a group needs of its agent."""

    def say(self, proxy: bytes, message: Message) -> None: ...

    def send_payload(self, remote: Remote, wrote: Wrote) -> None: ...

    def log(self, text: str) -> None: ...

    def forget(self, group: Group) -> None: ...


class Group:
    """The data set of `build`, and who works with it.

    Args:
        nursery: the channel of a new nursery.
    """

    def __init__(self, loop: Loop, agent: Agent, build: Build, nursery: Channel) -> None:
        self.build = build
        self.remotes: dict[bytes, Remote] = {}  # by proxy
        self._loop = loop
        self._agent = agent
        self._nursery = Child(nursery)
        self._facts: Facts | None = None
        self._proof: Proof | None = None
        self._waiting: dict[bytes, Join] = {}
        self._next = 0
        self._empty_since = time.monotonic()
        self._worker_limit: int = build.config["feed"]["worker_memory"] * MIB
        self._watch(nursery, self._nursery_speaks)
        with contextlib.suppress(ChannelClosed):  # its end of file is in the poll loop
            nursery.send(build)

    def join(self, proxy: bytes, join: Join) -> None:
        """A proxy wants a worker; it gets one when the data set is there."""
        self._waiting[proxy] = join
        self._spawn()

    def assign(self, proxy: bytes, order: Assign) -> None:
        """Raises MessageError when the proxy's worker is not idle."""
        remote = self.remotes.get(proxy)
        if remote is None or remote.order is not None or remote.child.pidfd is None:
            raise MessageError("ASSIGN to a worker that is not idle")
        remote.order, remote.shown = order, 0
        with contextlib.suppress(ChannelClosed):  # its nursery will report how it died
            remote.child.channel.send(replace(order, slot=0))

    def has(self, proxy: bytes) -> bool:
        """Whether the proxy waits for a worker or has one."""
        return proxy in self.remotes or proxy in self._waiting

    def drop(self, proxy: bytes) -> None:
        """The proxy is gone: its worker is ended."""
        self._waiting.pop(proxy, None)
        if remote := self.remotes.pop(proxy, None):
            remote.child.kill()
            remote.forget(self._loop)

    def look(self, now: float, silence: float) -> None:
        """Tells the proxies what their workers are at, ends those of silent proxies, and itself when there are none."""
        for proxy, remote in list(self.remotes.items()):
            if now - remote.heard > silence:
                self.drop(proxy)
            elif remote.order is not None:
                self._look_at(remote)
        if self.remotes or self._waiting or self._facts is None:
            self._empty_since = now
        elif now - self._empty_since > EMPTY_SECONDS:
            self.close()

    def close(self) -> None:
        for proxy in list(self.remotes):
            self.drop(proxy)
        self._nursery.kill()
        self._nursery.forget(self._loop)
        self._agent.forget(self)

    def _watch(self, channel: Channel, speaks: Callable[[], None]) -> None:
        def hear() -> None:
            try:
                speaks()
            except NoDescriptorLeft as error:  # its proxies come again, and find another group
                self._nursery_died(str(error))

        self._loop.watch(channel.fileno(), hear)
        channel.never_wait(partial(self._loop.when_writable, channel.fileno()))

    def _look_at(self, remote: Remote) -> None:
        assert self._facts is not None
        place, note = remote.in_hand()
        if place != remote.shown:
            remote.shown = place
            self._agent.say(remote.proxy, AtWork(place, note))
        held, most = remote.child.held(), self._facts.worker_bytes + self._worker_limit
        if held > most and not remote.verdict:
            remote.verdict = (
                f"it held {held / MIB:.0f} MiB, more than the {self._facts.worker_bytes / MIB:.0f} MiB that were "
                f"planned and feed.worker_memory={self._worker_limit // MIB}"
            )
            remote.child.kill()

    def _spawn(self) -> None:
        """Has a worker forked for each proxy that waits."""
        if self._proof is None:
            return
        for proxy, join in self._waiting.items():
            self._agent.say(proxy, self._proof)
            try:
                self._spawn_for(proxy, join.slot_bytes)
            except (OSError, NoDescriptorLeft) as error:
                text = f"there is no room for a worker with a slot of {join.slot_bytes / MIB:.0f} MiB: {error}"
                self._agent.say(proxy, Refused(text))
        self._waiting.clear()

    def _spawn_for(self, proxy: bytes, slot_bytes: int) -> None:
        channel, theirs = Channel.pair()
        with theirs:
            remote = Remote(self._next, proxy, channel, self._nursery, slot_bytes)
            with contextlib.suppress(ChannelClosed):  # its end of file is in the poll loop
                self._nursery.channel.send(Spawn(remote.number, 1, slot_bytes), theirs.fileno(), remote.memory)
        self._next += 1
        self.remotes[proxy] = remote
        self._watch(channel, partial(self._worker_speaks, remote))

    def _nursery_speaks(self) -> None:
        try:
            messages = self._nursery.channel.read(Started, Facts, Proof, Failure, Exited, Notice)
        except (ChannelClosed, MessageError):
            self._nursery_died("the process that builds the data set died")
            return
        for message in messages:
            match message:
                case Failure():
                    self._nursery_died(message.text)
                    return
                case Started():
                    self._nursery.started()
                case Notice():
                    self._agent.log(message.text)
                case Facts():
                    for descriptor in self._nursery.channel.take_descriptors(1):
                        os.close(descriptor)
                    self._facts = message
                    self._nursery.channel.send(Prove())
                case Proof():
                    self._proof = message
                    self._spawn()
                case Exited():
                    self._worker_exited(message)

    def _nursery_died(self, why: str) -> None:
        for proxy in self._waiting:
            self._agent.say(proxy, Refused(why))
        for proxy in self.remotes:
            self._agent.say(proxy, Lost(signal.SIGKILL, 0, 0, "", ""))
        self._waiting.clear()
        self.close()

    def _worker_speaks(self, remote: Remote) -> None:
        try:
            messages = remote.child.channel.read(Started, Wrote, Failure)
        except (ChannelClosed, MessageError):
            self._loop.forget(remote.child.channel.fileno())
            remote.child.kill()
            return
        for message in messages:
            match message:
                case Started():
                    remote.child.started()
                    self._agent.say(remote.proxy, Started())
                case Failure():
                    remote.order = None
                    self._agent.say(remote.proxy, message)
                case Wrote():
                    remote.order = None
                    self._agent.send_payload(remote, message)

    def _worker_exited(self, message: Exited) -> None:
        for proxy, remote in self.remotes.items():
            if remote.number == message.worker:
                place, note = remote.in_hand()
                self._agent.say(proxy, Lost(message.signal, message.code, place, note, remote.verdict))
                self.drop(proxy)
                return
