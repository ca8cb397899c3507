"""A process of a stream, nursery or worker, as its pool holds it."""

from __future__ import annotations

import contextlib
import os
import signal

from data_server.serving.loop import Loop
from shared.link import Channel


class Child:
    """A channel and, once the process has said STARTED, a pidfd. `nursery` is a worker's parent.

    Attributes:
        pidfd: None before STARTED.
        recycled: a worker that was killed because it had grown too large.
    """

    def __init__(self, channel: Channel, nursery: Child | None = None) -> None:
        self.channel = channel
        self.nursery = nursery
        self.pidfd: int | None = None
        self.recycled = False

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
