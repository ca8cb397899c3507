"""The server's poll loop: descriptors and ZeroMQ sockets with a callback each, and timers. Only the poll blocks.

A ZeroMQ socket has a descriptor too, but it reports changes only, and a send on the socket may swallow the report. So
each socket is asked whether it has something to read before the loop goes to sleep; a `NotingSocket` only if it has
been used since, or its descriptor has reported a change.

    asleep ──► sockets that have something to read ──► descriptors to write to ──► to read from ──► timers that are due

The sockets come first: a ROUTER that was asked holds the first frame of a message, and if its peer is disconnected
before the other frames are read, libzmq aborts the process (fq.cpp, "Assertion failed: !_more").
"""

from __future__ import annotations

import math
import os
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from shared.channel import is_readable

Callback = Callable[[], object]


class NotingSocket(zmq.Socket[bytes]):
    """A ZeroMQ socket that notes when something was done with it that may have swallowed its descriptor's report."""

    used = True

    def send(self, *words: Any, **options: Any) -> Any:
        self.used = True
        return super().send(*words, **options)

    def recv(self, *words: Any, **options: Any) -> Any:
        self.used = True
        return super().recv(*words, **options)

    def connect(self, address: str) -> Any:
        self.used = True
        return super().connect(address)

    def disconnect(self, address: str | bytes) -> Any:
        self.used = True
        return super().disconnect(address)


class Loop:
    """One thread, many sources."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._by_descriptor: dict[int, NotingSocket] = {}
        self._callbacks: dict[int | zmq.Socket[bytes], Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._masks: dict[int, int] = {}  # what epoll watches descriptors for
        self._timers: dict[Callback, float] = {}
        self._handed_over: deque[Callback] = deque()
        self._bell = os.eventfd(0)
        self.watch(self._bell, self._answer_bell)
        self.running = True

    def watch(self, source: int | zmq.Socket[bytes], callback: Callback) -> None:
        """Calls `callback` whenever `source`, a descriptor or a ZeroMQ socket, is readable or closed by its peer."""
        if isinstance(source, zmq.Socket) and source not in self._callbacks:
            self._sockets.append(source)
            self._epoll.register(source.FD, select.EPOLLIN)
            if isinstance(source, NotingSocket):
                self._by_descriptor[source.FD] = source
        self._callbacks[source] = callback
        if not isinstance(source, zmq.Socket):
            self._update(source)

    def when_writable(self, descriptor: int, callback: Callback) -> None:
        """Calls `callback` once, when `descriptor` can be written to or its peer is gone."""
        self._writers[descriptor] = callback
        self._update(descriptor)

    def forget(self, source: int) -> None:
        """Stops watching a descriptor; call it before closing it."""
        self._callbacks.pop(source, None)
        self._writers.pop(source, None)
        self._update(source)

    def after(self, seconds: float, callback: Callback) -> None:
        """Calls `callback` once, in `seconds` or somewhat later; no clock but the monotonic one is looked at."""
        self._timers[callback] = time.monotonic() + seconds

    def cancel(self, callback: Callback) -> None:
        """Undoes `after`, if it is not too late."""
        self._timers.pop(callback, None)

    def hand_over(self, callback: Callback) -> None:
        """Calls `callback` once, in the loop's thread; any thread may ask for it."""
        self._handed_over.append(callback)
        os.eventfd_write(self._bell, 1)

    def run(self) -> None:
        """Serves callbacks until `running` is False."""
        while self.running:
            talking, readable, writable = self._wait()
            self._call(talking)
            for descriptor, callback in [(one, self._writers[one]) for one in writable if one in self._writers]:
                if self._writers.get(descriptor) is callback:
                    del self._writers[descriptor]
                    self._update(descriptor)
                    callback()
            self._call(readable)
            if self._timers:
                now = time.monotonic()
                for callback in [callback for callback, due in self._timers.items() if due <= now]:
                    self.cancel(callback)
                    callback()

    def _answer_bell(self) -> None:
        os.eventfd_read(self._bell)
        while self._handed_over:
            self._handed_over.popleft()()

    def _call(self, sources: Sequence[int | zmq.Socket[bytes]]) -> None:
        ready = [(source, self._callbacks[source]) for source in sources if source in self._callbacks]
        for source, callback in ready:
            # An earlier callback of this round may have forgotten the source; its number may be another's by now.
            if self._callbacks.get(source) is callback:
                callback()

    def _update(self, descriptor: int) -> None:
        mask = select.EPOLLIN * (descriptor in self._callbacks) | select.EPOLLOUT * (descriptor in self._writers)
        before = self._masks.pop(descriptor, 0)
        if mask:
            self._masks[descriptor] = mask
        if mask and before:
            self._epoll.modify(descriptor, mask)
        elif mask:
            self._epoll.register(descriptor, mask)
        elif before:
            self._epoll.unregister(descriptor)

    def _wait(self) -> tuple[list[zmq.Socket[bytes]], list[int], list[int]]:
        """The sockets and the descriptors that can be read, and the descriptors that can be written to: at least one,
        unless a timer comes first or a socket's descriptor has reported a change."""
        talking = [socket for socket in self._sockets if _has_something_to_read(socket)]
        events = self._epoll.poll(0 if talking else self._until_next_timer())
        readable = [descriptor for descriptor, event in events if event != select.EPOLLOUT]
        for descriptor in readable:
            if descriptor in self._by_descriptor:
                self._by_descriptor[descriptor].used = True
        writable = [descriptor for descriptor, event in events if event != select.EPOLLIN]
        return talking, readable, writable

    def _until_next_timer(self) -> float | None:
        """Seconds, to the next millisecond; None without a timer."""
        if not self._timers:
            return None
        return max(0, math.ceil((min(self._timers.values()) - time.monotonic()) * 1000)) / 1000


def _has_something_to_read(socket: zmq.Socket[bytes]) -> bool:
    if isinstance(socket, NotingSocket):
        if not socket.used:
            return False
        socket.used = False
    return is_readable(socket)
