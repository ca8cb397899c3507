"""For tests that play the nursery of a pool or a group."""

from __future__ import annotations

import socket

from data_server.serving.loop import Loop
from shared.channel import Channel
from shared.messages import Facts, Spawn

FACTS = Facts(
    classes=[["a"]],
    images=1,
    sizes=[1],
    fingerprint="",
    max_boxes=1,
    max_proposals=0,
    batch_height=32,
    batch_width=32,
    nursery_bytes=0,
    worker_bytes=0,
)


def go_on(loop: Loop, seconds: float = 0.1) -> None:
    """Lets what has been sent be heard."""
    loop.running = True
    loop.after(seconds, lambda: setattr(loop, "running", False))
    loop.run()


def spawned(nursery: Channel) -> tuple[Spawn, Channel]:
    """The order for the next worker, and the worker's channel."""
    order = nursery.receive(Spawn)
    descriptor, _ = nursery.take_descriptors(2)
    return order, Channel(socket.socket(fileno=descriptor))
