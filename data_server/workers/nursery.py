"""Nurseries: processes that hold something expensive and are forked, so that a new worker starts in milliseconds.

    server ──socket pair──► root nursery            torch and mmdet imported once per server (seconds)
                               │ fork (FORK)
                               ▼
                            stream's nursery        the data set built once per stream (BUILD -> FACTS)
                               │ fork (SPAWN)  │ fork (SPAWN_EVALUATOR)  │ fork (PROVE -> PROOF)
                               ▼               ▼                         ▼
                            workers         evaluator                 prover     share the data set's memory

Each process has a socket pair of its own with the server; nothing but messages and descriptors goes over it, never a
pickle. A nursery is single-threaded and does nothing but wait, so forking it is safe, and it hears at once what becomes
of its children. Every process dies with the one it was forked from. A stream's nursery is its workers' parent, so it
alone learns how they die, and reports that to the server (EXITED).
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from data_server.datasets.lazy_imports import import_mmdetection
from data_server.machine.cut_short import cut_short, end_with_a_line
from data_server.workers.announce import announce
from shared.channel import Channel, ChannelClosed
from shared.command_line import FAILED
from shared.data_part import from_plain
from shared.datasets import parts_of
from shared.errors import UserError, described
from shared.faults import reach
from shared.lifetime import die_with_parent
from shared.messages import Build, Exited, Facts, Failure, Fork, Notice, Proof, Prove, Spawn, SpawnEvaluator
from shared.terminal import write_line

if TYPE_CHECKING:
    from data_server.datasets.parts import Datasets
    from data_server.handover.facts import DatasetFacts


def main() -> None:
    """``python -m data_server.workers.nursery SOCKET PARENT``: the root nursery, started by the server."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches the whole group; the server decides
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    # pycocotools and plug-ins print things that nobody asked for.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    gc.disable()  # it would look again and again through hundreds of thousands of objects that stay
    import_mmdetection()
    import data_server.datasets.bounds
    import data_server.workers.evaluator
    import data_server.workers.proxy
    import data_server.workers.purity
    import data_server.workers.rehearsal  # noqa: F401 - importing is what the root nursery is for

    _share_memory()
    gc.enable()
    _serve_root(Channel(socket.socket(fileno=descriptor)))


def _share_memory() -> None:
    """Keeps the garbage collector off everything that is there now: in a fork it would write to each object, and copy
    a hundred megabytes thereby (0.5 s) that are shared otherwise."""
    gc.collect()
    gc.freeze()


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
    from data_server.datasets.bounds import gather
    from data_server.datasets.parts import Datasets
    from data_server.machine.process_memory import private_bytes
    from data_server.workers import evaluator, purity
    from data_server.workers.rehearsal import worker_bytes

    end_with_a_line(lambda text: channel.send(Notice(text)), FAILED)
    announce(channel)
    build = channel.receive(Build)
    config = from_plain(build.config)
    try:
        if build.directory:
            _go_to(build.directory)
        datasets = Datasets(config, lambda text: channel.send(Notice(text)))
        evaluator.check(config.get("evaluators") or [])
        facts = gather(datasets, config)
        datasets.open_archives()
    except UserError as error:
        channel.send(Failure(str(error), True))
        return
    except Exception as error:  # what MMDetection, or we, did not expect of annotations
        files = ", ".join(repr(part.get("ann_file")) for part in parts_of(config["dataset"]))
        channel.send(Failure(f"the data sets of annotation files {files} cannot be used: {described(error)}", True))
        raise
    _share_memory()
    reach("nursery.built")
    memory = facts.to_memory()
    for_worker = worker_bytes(datasets, config, facts)  # first: forking makes this process copy pages of its own
    try:
        purity.check(datasets)
    except UserError as error:
        channel.send(Failure(str(error), True))
        return
    message = Facts(
        classes=datasets.classes,
        images=len(datasets),
        fingerprint=facts.fingerprint,
        sizes=facts.sizes,
        max_boxes=facts.max_boxes,
        max_proposals=facts.max_proposals,
        batch_height=facts.height,
        batch_width=facts.width,
        nursery_bytes=private_bytes(),
        worker_bytes=for_worker,
    )
    channel.send(message, memory)
    os.close(memory)
    _serve_spawns(channel, datasets, config, facts, build)


def _go_to(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise UserError(f"there is no directory {directory!r}, where relative paths begin: {error.strerror}") from None


def _serve_spawns(
    channel: Channel, datasets: Datasets, config: dict[str, Any], facts: DatasetFacts, build: Build
) -> None:
    from data_server.workers import evaluator, proof, proxy, worker

    prover: Channel | None = None
    proven: Proof | None = None  # before any proxy is asked for
    children: dict[int, _Forked] = {}  # by pidfd
    waiting = select.poll()
    waiting.register(channel.fileno(), select.POLLIN)
    fork = partial(_fork_child, channel, children, waiting)
    while True:
        ready = [descriptor for descriptor, _ in waiting.poll()]
        for descriptor in ready:
            if descriptor in children:
                waiting.unregister(descriptor)
                _report(channel, descriptor, children.pop(descriptor))
            elif prover is not None and descriptor == prover.fileno():
                waiting.unregister(descriptor)
                proven, prover = _said(prover) or proof.nothing(datasets), None
                channel.send(proven)
        for order in channel.read(Spawn, SpawnEvaluator, Prove) if channel.fileno() in ready else ():
            match order:
                case Spawn():
                    descriptor, memory = channel.take_descriptors(2)
                    if order.far:
                        assert proven is not None
                        run = partial(proxy.run, datasets=datasets, config=config, proof=proven, build=build)
                    else:
                        run = partial(worker.run, datasets=datasets, config=config)
                    fork(descriptor, partial(run, spawn=order, memory=memory), order.worker)
                    os.close(memory)
                case SpawnEvaluator():
                    (descriptor,) = channel.take_descriptors(1)
                    fork(descriptor, partial(evaluator.run, datasets=datasets))
                case Prove():
                    prover, theirs = Channel.pair()
                    waiting.register(prover.fileno(), select.POLLIN)
                    fork(theirs.detach(), lambda ours: ours.send(proof.prove(datasets, config, facts)))


def _said(prover: Channel) -> Proof | None:
    """What was proven; None where the process that tried is dead."""
    try:
        return prover.receive(Proof)
    except ChannelClosed:
        return None
    finally:
        prover.close()


class _Forked(NamedTuple):
    """A child of a stream's nursery; `worker` is its number, None for an evaluator."""

    pid: int
    worker: int | None


def _fork_child(
    channel: Channel,
    children: dict[int, _Forked],
    waiting: select.poll,
    descriptor: int,
    run: Callable[[Channel], None],
    worker: int | None = None,
) -> None:
    """Forks a child and waits for its death from now on. By its pidfd and not by SIGCHLD: a signal that comes just
    before the process waits for its channel is heard of only when something comes from there."""
    pid = _fork(channel, descriptor, run)
    pidfd = os.pidfd_open(pid)
    children[pidfd] = _Forked(pid, worker)
    waiting.register(pidfd, select.POLLIN)


def _report(channel: Channel, pidfd: int, dead: _Forked) -> None:
    os.close(pidfd)
    _, status = os.waitpid(dead.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGBUS and (text := cut_short()):
        channel.send(Notice(text))
        os._exit(FAILED)  # the next one opens the files anew
    if dead.worker is not None:
        channel.send(Exited(dead.worker, signal=max(0, -code), code=max(0, code)))


def _fork(channel: Channel, descriptor: int, run: Callable[[Channel], None]) -> int:
    """Forks a child that runs `run` on the socket `descriptor` and nothing else of ours. The parent closes its copy and
    gets the child's process id."""
    parent = os.getpid()
    if pid := os.fork():
        os.close(descriptor)
        return pid
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGBUS, signal.SIG_DFL)  # the nursery has a word for it
        die_with_parent(parent)
        channel.close()
        # Open until the very end: to the server its end of file means that the process has to be killed.
        ours = Channel(socket.socket(fileno=descriptor))
        with contextlib.suppress(ChannelClosed):  # nobody is left who would want to know
            run(ours)
        status = 0
    except BaseException as error:
        write_line("".join(traceback.format_exception(error)))
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
