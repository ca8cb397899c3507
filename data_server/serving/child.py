"""A process of a stream, nursery or worker, as its pool holds it.

worker:   idle ──assign──► at work ──WROTE──► idle
                              └── too much memory, too long over one image: condemned, then dead
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from dataclasses import dataclass, field

from data_server.machine.fields import numbers
from data_server.machine.process_memory import Anonymous
from data_server.serving.blame import Death
from data_server.serving.loop import Loop
from shared.channel import Channel, NoDescriptorLeft
from shared.messages import Assign


@dataclass
class Work:
    """What a worker does: its order, and since when it has been at the sample at `place`, as `shared.arena.in_hand`
    counts. `told`: the log says that it takes long."""

    order: Assign
    place: int = 0
    since: float = field(default_factory=time.monotonic)
    told: bool = False


class Child:
    """A channel and, once the process has said STARTED, a pidfd and what it holds. `nursery` is a worker's parent,
    `address` where the agent is that it is a proxy of ("": it is none).

    Attributes:
        pidfd: None before STARTED.
        recycled: a worker that was killed because it had grown too large.
        work: a worker's; None while it is idle.
        sentence: of a worker that was condemned: how it died, if that is what kills it.
    """

    def __init__(self, channel: Channel, nursery: Child | None = None, address: str = "") -> None:
        self.channel = channel
        self.nursery = nursery
        self.address = address
        self.pidfd: int | None = None
        self.recycled = False
        self.work: Work | None = None
        self.sentence: Death | None = None
        self._memory: Anonymous | None = None
        self._inherited = 0

    def started(self) -> None:
        """Takes the pidfd that comes with STARTED. Raises NoDescriptorLeft."""
        (self.pidfd,) = self.channel.take_descriptors(1)
        try:
            (process,) = numbers(f"/proc/self/fdinfo/{self.pidfd}", "Pid")
            self._memory = Anonymous(process)
            self._inherited = self._memory.bytes()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise NoDescriptorLeft(error) from None
            # It is dead already.

    def held(self) -> int:
        """Bytes that the process has taken since it said STARTED; 0 or less once it is dead."""
        return self._memory.bytes() - self._inherited if self._memory is not None else 0

    def condemn(self, sentence: Death) -> None:
        self.sentence = sentence
        self.kill()

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
        if self._memory is not None:
            self._memory.close()
