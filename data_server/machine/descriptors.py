"""How many descriptors the server will open, known before it opens one.

plan = what the server needs for itself + guests (clients that have not said HELLO yet) + streams x what one needs

When ZeroMQ has no descriptor left for a connection, it ends the whole process, and nobody can catch that. So the server
admits only as many as it has descriptors for: one stream too many is refused, and of too many guests the one that has
been silent longest is turned away.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

from shared.errors import UserError

GUESTS = 16
_GUEST = 2  # its lifeline, its ZeroMQ connection
_SERVER = 40  # 16 while nothing happens; probes of the address, ends of sockets on their way to children
_STREAM = 10  # lifeline, ZeroMQ connection, arena, three of the nursery as of a worker; four more while it is evaluated
_WORKER = 3  # its socket, its pidfd, what /proc says of its memory


@dataclass(frozen=True)
class DescriptorPlan:
    """A server with `workers` workers per stream under a limit of `limit` open files."""

    limit: int
    workers: int

    @classmethod
    def of_this_process(cls, workers: int) -> DescriptorPlan:
        """After the soft limit has been raised as far as it may.

        Raises:
            UserError: not even one stream can be served.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        plan = cls(hard, workers)
        if plan.streams < 1:
            raise UserError(
                f"at most {hard} files may be open (ulimit -Hn), one stream of {workers} workers takes "
                f"{plan.needed(1)}; raise the limit"
            )
        return plan

    def needed(self, streams: int) -> int:
        return _SERVER + GUESTS * _GUEST + streams * (_STREAM + self.workers * _WORKER)

    @property
    def streams(self) -> int:
        """How many can be served at a time."""
        return (self.limit - self.needed(0)) // (self.needed(1) - self.needed(0))

    def __str__(self) -> str:
        return f"{self.streams} streams of {self.workers} workers at a time with at most {self.limit} open files"
