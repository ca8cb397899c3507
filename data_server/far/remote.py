"""A worker of an agent, with an arena of one slot, and the proxy on the server's host that it works for.

waiting ──STARTED──► idle ◄──ASSIGN, WROTE──► at work ──too much memory──► condemned
   └───────────────────┴────────────┬────────────┴─────────────────────────────┘
                                EXITED from its nursery: LOST to the proxy
"""

from __future__ import annotations

import os
import time

from data_server.serving.child import Child
from data_server.serving.loop import Loop
from shared.arena import Arena, create_memory, in_hand
from shared.channel import Channel
from shared.messages import Assign


class Remote:
    """Worker `number` of its nursery.

    Attributes:
        order: what it makes; None while it is idle.
        shown: the sample in hand that its proxy knows of.
        heard: when its proxy was last heard, on the monotonic clock.
        verdict: why the agent has killed it.
    """

    def __init__(self, number: int, proxy: bytes, channel: Channel, nursery: Child, slot_bytes: int) -> None:
        """Raises OSError when there is no memory for its slot."""
        self.number = number
        self.proxy = proxy
        self.child = Child(channel, nursery)
        self.slot_bytes = slot_bytes
        self.memory = create_memory(1, slot_bytes)
        self.arena = Arena(self.memory, 1, slot_bytes, writable=False)
        self.order: Assign | None = None
        self.shown = 0
        self.heard = time.monotonic()
        self.verdict = ""

    def in_hand(self) -> tuple[int, str]:
        """The place of the sample that it makes (0: none) and its file."""
        return in_hand(self.memory, 0, self.slot_bytes) if self.order is not None else (0, "")

    def forget(self, loop: Loop) -> None:
        """It is dead, or has been killed."""
        self.child.forget(loop)
        os.close(self.memory)
