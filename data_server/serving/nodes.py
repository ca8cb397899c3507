"""The nodes of a Ray cluster as the server sees them: where agents are, and who is told when that changes.

    launcher started ──READY──► JOINED, LEFT as nodes come and go ──EOF──► all gone; started again some seconds later
           └── FAILURE, EOF: the server does not start

    elastic:  each stream says how many far workers it wants ──the most of them: WANT──► launcher

The launcher is a process of its own, so that this one holds nothing of Ray and unpickles nothing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import zmq

from data_server.handover.far_link import Place
from data_server.handover.receiving import receiving
from data_server.serving.loop import Loop
from shared.channel import Channel, ChannelClosed
from shared.errors import UserError
from shared.messages import Failure, Joined, Launch, Left, MessageError, Notice, Ready, Want

_AGAIN_SECONDS = 5.0


@dataclass(frozen=True)
class FarNode:
    """An agent, and for how many workers of each stream it has room."""

    place: Place
    workers: int


class Nodes:
    """The nodes of the cluster at `address` (as Ray has it, or 'auto'), with at most `workers` far workers in all for
    each stream, and `per_node` on each node (0: as many as it has processors).

    Attributes:
        elastic: there are none before a stream wants some.
        listeners: called whenever a node has come or gone.
        receiving: what a byte of a far batch takes this host, in microseconds of a processor.
    """

    def __init__(self, address: str, workers: int, per_node: int, elastic: bool = False) -> None:
        """Starts the launcher and waits until it is connected. Raises UserError when it cannot be."""
        self._address, self.most, self._per_node, self.elastic = address, workers, per_node, elastic
        self._wishes: dict[object, int] = {}  # by stream
        public, self._secret = (key.decode() for key in zmq.curve_keypair())
        self._public = public
        self._known: dict[str, FarNode] = {}  # by address
        self.listeners: list[Callable[[], None]] = []
        self._start()
        try:
            answer = self._channel.receive(Ready, Failure)
        except (ChannelClosed, MessageError):
            raise UserError(f"--ray {address}: its launcher died; what it said stands above") from None
        if isinstance(answer, Failure):
            raise UserError(f"--ray {address}: {answer.text}")
        self.receiving = receiving()

    def attach(self, loop: Loop, log: Callable[[str], None]) -> None:
        self._loop, self._log = loop, log
        self._watch()

    def want(self, stream: object, workers: int) -> None:
        """`stream` wants so many far workers from now on."""
        before = self._wanted
        self._wishes[stream] = workers
        if workers == 0:
            del self._wishes[stream]
        if self._wanted != before:
            self._say_what_is_wanted()

    @property
    def known(self) -> list[FarNode]:
        return list(self._known.values())

    def kill(self) -> None:
        self._loop.cancel(self._start_again)
        self._launcher.kill()
        self._launcher.wait()
        self._channel.close()

    def _start(self) -> None:
        self._channel, theirs = Channel.pair()
        command = ["-W", "ignore", "-m", "data_server.far.launcher", str(theirs.fileno()), str(os.getpid())]
        self._launcher = subprocess.Popen(
            [sys.executable, *command],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        with contextlib.suppress(ChannelClosed):  # its end of file will be read
            self._channel.send(Launch(self._address, self.most, self._per_node, self.elastic, self._public))

    def _start_again(self) -> None:
        self._start()
        self._watch()
        self._say_what_is_wanted()

    def _watch(self) -> None:
        self._loop.watch(self._channel.fileno(), self._launcher_speaks)
        self._channel.never_wait(partial(self._loop.when_writable, self._channel.fileno()))

    @property
    def _wanted(self) -> int:
        return max(self._wishes.values(), default=0)

    def _say_what_is_wanted(self) -> None:
        if self.elastic:
            with contextlib.suppress(ChannelClosed):  # its end of file is in the poll loop
                self._channel.send(Want(self._wanted))

    def _launcher_speaks(self) -> None:
        try:
            messages = self._channel.read(Ready, Joined, Left, Notice, Failure)
        except (ChannelClosed, MessageError):
            self._launcher_died("the launcher of far workers died")
            return
        for message in messages:
            match message:
                case Failure():
                    self._launcher_died(f"far workers: {message.text}")
                    return
                case Notice():
                    self._log(message.text)
                case Joined():
                    place = Place(message.node, message.address, message.key, self._public, self._secret)
                    self._known[message.address] = FarNode(place, message.workers)
                    self._log(f"{place} has joined, with {message.workers} far workers for each stream")
                case Left():
                    if node := self._known.pop(message.address, None):
                        self._log(f"{node.place} has left")
        self._tell()

    def _launcher_died(self, why: str) -> None:
        """Ray ends its actors with it."""
        self._loop.forget(self._channel.fileno())
        self._channel.close()
        self._launcher.kill()
        self._launcher.wait()
        self._log(f"{why}; starting another")
        self._known.clear()
        self._loop.after(_AGAIN_SECONDS, self._start_again)
        self._tell()

    def _tell(self) -> None:
        for listener in list(self.listeners):
            listener()
