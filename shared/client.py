"""A trainer's end of a stream, from HELLO to GOODBYE. Knows no framework.

    connect ──► open (HELLO ... WELCOME) ──► next ──► Lease.arrays ──► Lease.release ──► next ... ──► evaluate ──► close

While it waits it watches the control channel and the lifeline together, so the death of the server is noticed at once
and never mistaken for slowness.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, overload

import numpy.typing as npt
import zmq

from shared.address import Address
from shared.arena import Arena, SlotCorrupted
from shared.channel import Channel, ChannelClosed, NoDescriptorLeft, is_readable
from shared.codec import M, N, decode, encode
from shared.digest import rolled
from shared.errors import UserError
from shared.faults import reach
from shared.layout import Layout, LayoutError
from shared.lease import Lease
from shared.messages import (
    IDENTITY_BYTES,
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    Batch,
    Checkpointed,
    EndOfStream,
    Evaluate,
    Failure,
    Goodbye,
    Hail,
    Hello,
    Message,
    MessageError,
    Metrics,
    Notice,
    Predictions,
    Quarantined,
    Ready,
    Release,
    Welcome,
)
from shared.terminal import one_line

_GOODBYE_SECONDS = 1.0
_ON_LIFELINE = (Batch, EndOfStream, Welcome, Quarantined, Failure)


class ServerGone(Exception):
    """The data server died or was stopped; a new one can continue from the same cursor."""


class StreamFailed(Exception):
    """The data server ended the stream because of a fault that is not the user's."""


class StreamClient:
    """One stream of batches from a data server.

    Args:
        on_notice: called with each line that the server wants logged.
        on_quarantined: called for each sample that is found to kill workers.

    Attributes:
        welcome: what the server said of the stream.
        digest: the rolling digest of the stream up to the last batch that `next` returned.
    """

    def __init__(
        self,
        address: Address,
        hello: Hello,
        on_notice: Callable[[str], None] = lambda _: None,
        on_quarantined: Callable[[Quarantined], None] = lambda _: None,
    ) -> None:
        """Connects and opens the stream; waits as long as the server needs to build the data set.

        Raises:
            ServerGone: nobody serves `address`, or the server dies meanwhile.
            UserError: the server refuses, with its reason.
        """
        self._address = address
        self._on_notice = on_notice
        self._on_quarantined = on_quarantined
        self.digest = hello.digest
        # ZeroMQ keeps identities that begin with a zero byte for itself.
        self._identity = b"\x01" + os.urandom(IDENTITY_BYTES - 1)
        self._waiting: deque[Message] = deque()  # what came while something else was waited for
        self._lifeline = self._connect()
        # The process' one context: one of our own, collected as garbage before its socket, would wait for it for ever.
        self._control: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._control.setsockopt(zmq.LINGER, 0)
        self._control.setsockopt(zmq.IDENTITY, self._identity)
        self._sending = zmq.Poller()
        self._sending.register(self._control, zmq.POLLOUT)
        self._sending.register(self._lifeline.fileno(), zmq.POLLIN)
        self._receiving = select.poll()
        self._receiving.register(self._control.FD, select.POLLIN)
        self._receiving.register(self._lifeline.fileno(), select.POLLIN)
        try:
            self.welcome, self._arena = self._open(hello)
            self._checksum: bool = hello.config["feed"]["checksum"]
        except BaseException:
            self._disconnect()
            raise

    def next(self, *, check: bool = True) -> Lease | None:
        """The next batch in step order; None at the end of the stream. Without `check` only its header is verified by
        now, and its bytes when they are used.

        Raises:
            ServerGone, StreamFailed, UserError: the stream is over.
            SlotCorrupted: the batch's bytes are not what the server announced, or the stream's digest is not what the
                server has.
        """
        message = self._wait(Batch, EndOfStream)
        reach("client.batch")
        if isinstance(message, EndOfStream):
            if message.digest != self.digest:
                raise SlotCorrupted(f"the stream's digest is {self.digest}, the server has {message.digest}")
            return None
        try:
            layout = Layout.from_wire(message.layout, self._arena.capacity)
        except LayoutError as error:
            raise SlotCorrupted(f"step {message.step}: {error}") from None
        self._arena.verify_header(message.slot, message.generation, message.step, layout, message.digest)
        lease = Lease(message, layout, self._arena, self.tell, checksum=self._checksum)
        if check:
            lease.check()
        self.digest = rolled(self.digest, message.step, message.digest, message.valid)
        reach("client.lease")
        return lease

    def checkpointed(self, epoch: int, step: int) -> None:
        """Tells the server where this trainer would continue if it were killed now."""
        self.tell(Checkpointed(epoch, step))
        reach("client.checkpointed")

    def evaluate(
        self, predictions: Iterable[dict[str, npt.NDArray[Any]]], evaluator: list[dict[str, Any]]
    ) -> dict[str, float]:
        """Has the server compute metrics. Each item of `predictions` holds the arrays of a PREDICTIONS message.

        Raises:
            ServerGone, StreamFailed, UserError: the stream is over.
            ValueError: one item's arrays are larger than a frame may be.
        """
        for arrays in predictions:
            layout = Layout.of(arrays)
            if layout.nbytes > MAX_FRAME_BYTES:
                raise ValueError(f"predictions of {layout.nbytes} bytes at once, the limit is {MAX_FRAME_BYTES}")
            self.send(Predictions(layout.wire), layout.filled(arrays).data)
            reach("client.predictions")
        self.send(Evaluate(evaluator))
        reach("client.evaluate")
        values: dict[str, float] = self._wait(Metrics).values
        reach("client.metrics")
        return values

    def tell(self, message: Release | Checkpointed) -> None:
        """Sends on the lifeline. A server that is gone does not hear it; the next batch will show that."""
        with contextlib.suppress(ChannelClosed):
            self._lifeline.send(message)

    def send(self, message: Message, *frames: memoryview) -> None:
        """Queues a message on the control channel. While the queue is full, the lifeline is watched: a dead server
        empties none.

        Raises:
            ServerGone, StreamFailed, UserError: the stream is over.
        """
        while True:
            try:
                self._control.send_multipart([encode(message), *frames], zmq.DONTWAIT)
                return
            except zmq.Again:
                if self._lifeline.fileno() in dict(self._sending.poll()):
                    self._waiting += self._read_lifeline()

    def close(self) -> None:
        """Says goodbye. The stream's slots and workers are gone a moment later."""
        if self._control.closed:
            return
        # The server answers by closing the lifeline; without waiting for it ZeroMQ could drop the message at exit.
        self._lifeline.socket.settimeout(_GOODBYE_SECONDS)
        with contextlib.suppress(zmq.Again, ChannelClosed, MessageError):
            self._control.send(encode(Goodbye()), zmq.DONTWAIT)
            reach("client.goodbye")
            while True:
                self._lifeline.receive(*_ON_LIFELINE)
        self._disconnect()
        del self._arena  # unmapped when the last lease is gone

    def _connect(self) -> Channel:
        try:
            connection = self._address.connect()
        except OSError as error:
            raise ServerGone(f"no data server answers at {self._address.text}: {error.strerror}") from None
        reach("client.connected")
        return Channel(connection)

    def _open(self, hello: Hello) -> tuple[Welcome, Arena]:
        """Says who we are and what we want, and waits for the server to agree."""
        try:
            self._control.bind(self._address.control(self._identity))
        except zmq.ZMQError as error:
            raise ServerGone(f"no socket can be made at {self._address.text}: {error}") from None
        try:
            self._lifeline.send(Hail(PROTOCOL_VERSION, self._identity))
            reach("client.hailed")
            answer = self._lifeline.receive(Ready, Failure)
        except ChannelClosed:
            raise self._gone() from None
        if isinstance(answer, Failure):
            raise _failure(answer)
        reach("client.ready")
        self.send(hello)
        reach("client.hello")
        welcome = self._wait(Welcome)
        self._hide()
        reach("client.welcome")
        try:
            (memory,) = self._lifeline.take_descriptors(1)
        except NoDescriptorLeft as error:
            raise StreamFailed(f"batches cannot be received: {error}") from None
        arena = Arena(memory, welcome.slots, welcome.slot_bytes, writable=False)
        os.close(memory)
        return welcome, arena

    @overload
    def _wait(self, one: type[M], /) -> M: ...

    @overload
    def _wait(self, one: type[M], another: type[N], /) -> M | N: ...

    def _wait(self, *expected: type[M]) -> M:
        """The next message of a type in `expected`, from either socket. Logs notices on the way, keeps the others."""
        while True:
            for message in self._waiting:
                if isinstance(message, expected):
                    self._waiting.remove(message)
                    return message
            if is_readable(self._control):
                said = decode(self._control.recv(), Metrics, Notice)
                if isinstance(said, Notice):
                    self._on_notice(one_line(said.text))
                else:
                    self._waiting.append(said)
            elif self._lifeline.fileno() in dict(self._receiving.poll()):
                self._waiting += self._read_lifeline()

    def _read_lifeline(self) -> list[Message]:
        """What the server says there. Raises its FAILURE, reports QUARANTINED, returns the rest."""
        try:
            messages = self._lifeline.read(*_ON_LIFELINE)
        except ChannelClosed:
            raise self._gone() from None
        kept = []
        for message in messages:
            if isinstance(message, Failure):
                raise _failure(message)
            if isinstance(message, Quarantined):
                self._on_quarantined(message)
            else:
                kept.append(message)
        return kept

    def _gone(self) -> ServerGone:
        return ServerGone(
            f"the data server at {self._address.text} is gone (its lifeline closed at {time.strftime('%H:%M:%S')})"
        )

    def _hide(self) -> None:
        """Nobody else can connect to the control socket from now on; ZeroMQ could not stop listening and keep what it
        has."""
        with contextlib.suppress(OSError):
            self._address.control_file(self._identity).unlink()

    def _disconnect(self) -> None:
        self._hide()
        self._lifeline.close()
        self._control.close()


def _failure(failure: Failure) -> Exception:
    text = one_line(failure.text)
    return UserError(text) if failure.user_error else StreamFailed(text)
