"""The server's poll loop: descriptors and ZeroMQ sockets with a callback each, and timers. Nothing in here blocks but the poll itself."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

import zmq

Callback = Callable[[], None]


class Loop:
    """One thread, many sources."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._callbacks: dict[object, Callback] = {}
        self._timers: list[tuple[float, int, Callback]] = []
        self._numbers = itertools.count()
        self.running = True

    def watch(self, source: int | zmq.Socket, callback: Callback) -> None:
        """Calls `callback` whenever `source`, a descriptor or a ZeroMQ socket, is readable or closed by its peer."""
        self._callbacks[source] = callback
        self._poller.register(source, zmq.POLLIN)

    def forget(self, source: int | zmq.Socket) -> None:
        """Stops watching `source`; call it before closing it."""
        if self._callbacks.pop(source, None) is not None:
            self._poller.unregister(source)

    def after(self, seconds: float, callback: Callback) -> None:
        """Calls `callback` once, `seconds` from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), callback))

    def run(self) -> None:
        """Serves callbacks until `running` is False."""
        while self.running:
            for source, _ in self._poller.poll(self._milliseconds()):
                # An earlier callback of this round may have forgotten the source.
                if callback := self._callbacks.get(source):
                    callback()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()

    def _milliseconds(self) -> int | None:
        if not self._timers:
            return None
        return max(0, int((self._timers[0][0] - time.monotonic()) * 1000) + 1)
