"""The server's poll loop: descriptors and ZeroMQ sockets with a callback each. Nothing in here blocks but the poll."""

from __future__ import annotations

from collections.abc import Callable

import zmq

Callback = Callable[[], None]


class Loop:
    """One thread, many sources."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._callbacks: dict[object, Callback] = {}
        self.running = True

    def watch(self, source: int | zmq.Socket, callback: Callback) -> None:
        """Calls `callback` whenever `source`, a descriptor or a ZeroMQ socket, is readable or closed by its peer."""
        self._callbacks[source] = callback
        self._poller.register(source, zmq.POLLIN)

    def forget(self, source: int | zmq.Socket) -> None:
        """Stops watching `source`; call it before closing it."""
        if self._callbacks.pop(source, None) is not None:
            self._poller.unregister(source)

    def run(self) -> None:
        """Serves callbacks until `running` is False."""
        while self.running:
            ready = [(source, self._callbacks[source]) for source, _ in self._poller.poll()]
            for source, callback in ready:
                # An earlier callback of this round may have forgotten the source; its number may be another's by now.
                if self._callbacks.get(source) is callback:
                    callback()
