"""Nurseries: processes that hold something expensive and are forked from, so that a new worker starts in milliseconds.

    server ──socket pair──► root nursery            torch and mmdet imported once per server (seconds)
                               │ fork (FORK)
                               ▼
                            stream's nursery        the data set built once per stream (BUILD -> FACTS)
                               │ fork (SPAWN)  │ fork (SPAWN_EVALUATOR)
                               ▼               ▼
                            workers         evaluator          share the data set's memory

Each process has a socket pair of its own with the server; nothing but messages and descriptors goes over it, never a
pickle. A nursery is single-threaded and does nothing but wait, so forking it is safe. Every process dies with the one
it was forked from.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable

from data_server.lifetime import announce, die_with_parent
from shared.config import from_plain
from shared.errors import UserError
from shared.link import Channel, ChannelClosed
from shared.messages import Build, Facts, Failure, Fork, Spawn, SpawnEvaluator


def main() -> None:
    """``python -m data_server.nursery SOCKET PARENT``: the root nursery, started by the server."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches the whole group; the server decides
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    # pycocotools and plug-ins print what nobody asked for.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    import data_server.evaluator
    import data_server.facts
    import data_server.worker  # noqa: F401 - importing is what the root nursery is for

    _serve_root(Channel(socket.socket(fileno=descriptor)))


def _serve_root(channel: Channel) -> None:
    try:
        while True:
            channel.receive(Fork)
            (descriptor,) = channel.take_descriptors(1)
            _fork(channel, descriptor, _serve_stream)
    except ChannelClosed:
        return


def _serve_stream(channel: Channel) -> None:
    """The life of a stream's nursery."""
    from data_server.datasets import Datasets
    from data_server.facts import gather

    announce(channel)
    config = from_plain(channel.receive(Build).config)
    try:
        datasets = Datasets(config)
        facts = gather(datasets, config)
    except UserError as error:
        channel.send(Failure(str(error), True))
        return
    memory = facts.to_memory()
    channel.send(Facts(datasets.classes, len(datasets), facts.max_boxes, facts.height, facts.width), memory)
    os.close(memory)
    _serve_spawns(channel, datasets, config)


def _serve_spawns(channel: Channel, datasets: object, config: dict) -> None:
    from data_server import evaluator, worker
    from data_server.predictions import read

    while True:
        order = channel.receive(Spawn, SpawnEvaluator)
        descriptor, memory = channel.take_descriptors(2)
        if isinstance(order, Spawn):
            _fork(channel, descriptor, lambda own, o=order, m=memory: worker.run(own, datasets, config, o, m))
        else:
            _fork(
                channel,
                descriptor,
                lambda own, o=order, m=memory: evaluator.run(own, datasets, from_plain(o.evaluator), read(m)),
            )
        os.close(memory)


def _fork(channel: Channel, descriptor: int, run: Callable[[Channel], None]) -> None:
    """Forks a child that runs `run` on the socket `descriptor` and nothing else of ours. The parent closes its copy."""
    parent = os.getpid()
    if os.fork():
        os.close(descriptor)
        return
    status = 1
    try:
        die_with_parent(parent)
        channel.close()
        run(Channel(socket.socket(fileno=descriptor)))
        status = 0
    except ChannelClosed:
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
