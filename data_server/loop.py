"""The server's poll loop: descriptors and ZeroMQ sockets with a callback each, and timers. Nothing in here blocks but
the poll."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import zmq

Callback = Callable[[], None]


class Loop:
    """One thread, many sources."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._callbacks: dict[object, Callback] = {}
        self._timers: dict[Callback, float] = {}
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
        """Calls `callback` once, in `seconds` or somewhat later; no clock but the monotonic one is looked at."""
        self._timers[callback] = time.monotonic() + seconds

    def cancel(self, callback: Callback) -> None:
        """Undoes `after`, when it is not too late."""
        self._timers.pop(callback, None)

    def run(self) -> None:
        """Serves callbacks until `running` is False."""
        while self.running:
            ready = [(source, self._callbacks[source]) for source, _ in self._poller.poll(self._until_next_timer())]
            for source, callback in ready:
                # An earlier callback of this round may have forgotten the source; its number may be another's by now.
                if self._callbacks.get(source) is callback:
                    callback()
            if self._timers:
                now = time.monotonic()
                for callback in [callback for callback, due in self._timers.items() if due <= now]:
                    self.cancel(callback)
                    callback()

    def _until_next_timer(self) -> float | None:
        """Milliseconds; None without a timer."""
        if not self._timers:
            return None
        return max(0, math.ceil((min(self._timers.values()) - time.monotonic()) * 1000))
