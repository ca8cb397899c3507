"""The data server: one process, one poll loop, many streams. Imports neither torch nor mmdet; those live in the
nursery.

    lifeline socket ──HAIL──► client known ──HELLO on the control channel──► stream ──EOF, GOODBYE, failure──► gone

All it does itself is to route: what a client says to its stream, what a stream says to its client. A client that breaks
the protocol loses its stream, nobody else notices.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import zmq

from data_server.ledger import ProtocolError
from data_server.loop import Loop
from data_server.pool import Pool
from data_server.stream import Stream, check
from shared.errors import UserError
from shared.link import Address, Channel, ChannelClosed
from shared.messages import (
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    Evaluate,
    Failure,
    Fork,
    Goodbye,
    Hail,
    Hello,
    Message,
    MessageError,
    Predictions,
    Ready,
    Release,
    decode,
    encode,
)

_NURSERY_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # A worker takes and frees the same few megabytes for every image; glibc would return them to the kernel each time.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


class DataServer:
    """Serves streams on `address` with `workers` worker processes each."""

    def __init__(self, address: Address, workers: int, *, quiet: bool = False) -> None:
        """Raises UserError when the address cannot be used."""
        self._address = address
        self._workers = workers
        self._quiet = quiet
        self._lock = address.occupy()
        self._loop = Loop()
        self._context = zmq.Context()
        self._control = self._context.socket(zmq.ROUTER)
        self._control.setsockopt(zmq.LINGER, 0)
        self._control.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._control.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        # A batch must never be dropped; credits bound what can be under way.
        self._control.setsockopt(zmq.SNDHWM, 0)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._control.bind(address.control)
            self._listener.bind(address.lifeline)
        except (zmq.ZMQError, OSError) as error:
            raise UserError(f"data server address {address.text!r}: cannot make sockets there: {error}") from None
        self._listener.listen()
        self._lifelines: dict[bytes, Channel] = {}  # clients that have said HAIL and not yet HELLO
        self._streams: dict[bytes, Stream] = {}
        self._root: tuple[subprocess.Popen, Channel] | None = None

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT."""
        self._stop_on_signals()
        self._start_root()
        self._loop.watch(self._control, self._client_speaks)
        self._loop.watch(self._listener.fileno(), self._client_connects)
        self.log(f"listening on {self._address.text}, {self._workers} workers per stream")
        try:
            self._loop.run()
        finally:
            self._shut_down()

    # What a stream needs ----------------------------------------------------------------------------------------------

    def send(self, stream: Stream, message: Message) -> None:
        # A client that is gone cannot be routed to; the EOF of its lifeline closes the stream.
        with contextlib.suppress(zmq.ZMQError):
            self._control.send_multipart([stream.identity, encode(message)], zmq.DONTWAIT)

    def close(self, stream: Stream) -> None:
        if self._streams.pop(stream.identity, None) is None:
            return
        self._loop.forget(stream.lifeline.fileno())
        stream.close()
        self.log(f"stream {stream.name}: closed")

    def log(self, text: str) -> None:
        if not self._quiet:
            print(f"[data_server {time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)

    # The lifeline -----------------------------------------------------------------------------------------------------

    def _client_connects(self) -> None:
        connection, _ = self._listener.accept()
        lifeline = Channel(connection)
        self._loop.watch(lifeline.fileno(), lambda: self._client_hails(lifeline))

    def _client_hails(self, lifeline: Channel) -> None:
        """The first word on a lifeline; everything later on it is an EOF."""
        try:
            hails = lifeline.read(Hail)
            if not hails:
                return
            (hail,) = hails
            if hail.protocol != PROTOCOL_VERSION:
                text = (
                    f"the data server speaks protocol {PROTOCOL_VERSION}, the trainer {hail.protocol}; "
                    "install the same version on both sides"
                )
                lifeline.send(Failure(text, True))
                raise ChannelClosed
            if hail.identity in self._lifelines or hail.identity in self._streams:
                raise MessageError("an identity twice")
            lifeline.send(Ready(PROTOCOL_VERSION))
        except (ChannelClosed, MessageError, ValueError):
            self._loop.forget(lifeline.fileno())
            lifeline.close()
            return
        self._lifelines[hail.identity] = lifeline
        self._loop.watch(lifeline.fileno(), lambda: self._lifeline_ends(hail.identity))

    def _lifeline_ends(self, identity: bytes) -> None:
        stream = self._streams.get(identity)
        if stream is not None:
            self.log(f"stream {stream.name}: the trainer is gone")
            self.close(stream)
        elif lifeline := self._lifelines.pop(identity, None):
            self._loop.forget(lifeline.fileno())
            lifeline.close()

    # The control channel ----------------------------------------------------------------------------------------------

    def _client_speaks(self) -> None:
        while True:
            try:
                identity, data, *frames = self._control.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            except ValueError:  # a peer that sent no message part
                continue
            self._handle(identity, data, frames)

    def _handle(self, identity: bytes, data: bytes, frames: list[bytes]) -> None:
        stream = self._streams.get(identity)
        try:
            if stream is not None:
                stream.on_message(decode(data, Release, Predictions, Evaluate, Goodbye), frames)
            elif identity in self._lifelines:
                self._open(identity, decode(data, Hello))
        except (MessageError, ProtocolError) as error:
            if stream is not None:
                stream.failed(Failure(f"protocol error: {error}", False))
            else:
                self._lifeline_ends(identity)

    def _open(self, identity: bytes, hello: Hello) -> None:
        try:
            check(hello)
        except UserError as error:
            with contextlib.suppress(ChannelClosed):
                self._lifelines[identity].send(Failure(str(error), True))
            self._lifeline_ends(identity)
            return
        lifeline = self._lifelines.pop(identity)
        self._streams[identity] = Stream(self, identity, lifeline, hello, self._workers, self._make_pool)

    def _make_pool(self, stream: Stream, config: dict) -> Pool:
        return Pool(self._loop, stream, config, self._workers, self._fork_nursery)

    # The root nursery -------------------------------------------------------------------------------------------------

    def _start_root(self) -> None:
        channel, theirs = Channel.pair()
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "data_server.nursery", str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **_NURSERY_ENVIRONMENT},
        )
        theirs.close()
        self._root = (process, channel)

    def _fork_nursery(self) -> Channel:
        ours, theirs = Channel.pair()
        try:
            self._root[1].send(Fork(), theirs.fileno())
        except ChannelClosed:
            self.log("the root nursery died; starting another")
            self._kill_root()
            self._start_root()
            with contextlib.suppress(ChannelClosed):  # dead again: `ours` is at its end as well
                self._root[1].send(Fork(), theirs.fileno())
        theirs.close()
        return ours

    def _kill_root(self) -> None:
        process, channel = self._root
        process.kill()
        process.wait()
        channel.close()

    # The end ----------------------------------------------------------------------------------------------------------

    def _stop_on_signals(self) -> None:
        """A signal handler alone would not end a poll that is waiting; the byte that Python writes for it does."""
        reader, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self._loop, "running", False))
        self._loop.watch(reader.fileno(), lambda: reader.recv(64))

    def _shut_down(self) -> None:
        for stream in list(self._streams.values()):
            self.close(stream)
        self._kill_root()
        self._control.close()
        self._context.term()
        self._listener.close()
        self._address.vacate()
