"""The data server: one process, one poll loop, many streams. Imports neither torch nor mmdet; those live in the
nursery.

    lifeline socket ──HAIL──► client known ──HELLO on the control channel──► stream ──GOODBYE, failure──► gone
                                                              ▲                 └──EOF──► dormant ──time──► gone
                                                              └────HELLO of the same stream──┘

All it does itself is routing: from a client to its stream, from a stream to its client. A client that breaks the
protocol loses its stream; nobody else notices.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import zmq

from data_server.machine.descriptors import GUESTS, DescriptorPlan
from data_server.machine.process_memory import anonymous_bytes
from data_server.serving.client import Client
from data_server.serving.ledger import ProtocolError
from data_server.serving.loop import Loop, NotingSocket
from data_server.serving.nodes import Nodes
from data_server.serving.pool import Pool
from data_server.serving.root_nursery import RootNursery
from data_server.serving.stream import Stream, check
from shared.address import Address, is_trusted, peer_user, user_name
from shared.channel import Channel, ChannelClosed, NoDescriptorLeft
from shared.codec import decode, encode
from shared.errors import UserError
from shared.faults import reach
from shared.lifetime import STOP_SIGNALS
from shared.messages import (
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    Checkpointed,
    Evaluate,
    Failure,
    Goodbye,
    Hail,
    Hello,
    Message,
    MessageError,
    Predictions,
    Ready,
    Release,
)
from shared.terminal import one_line, write_line

if TYPE_CHECKING:  # prometheus-client is needed by those alone who ask for metrics
    from data_server.serving.prometheus import Exporter

_LISTEN_AGAIN_SECONDS = 1.0
_MESSAGES_IN_A_ROW = 64  # then workers and timers have their turn, even if a client floods the channel


class DataServer:
    """Serves streams on `address` with `workers` worker processes each, and as many on other hosts as `nodes` have room
    for; `exporter` publishes their metrics."""

    def __init__(
        self,
        address: Address,
        workers: int,
        *,
        quiet: bool = False,
        exporter: Exporter | None = None,
        nodes: Nodes | None = None,
    ) -> None:
        """Raises UserError when the address cannot be used, or too few files may be open."""
        self._descriptors = DescriptorPlan.of_this_process(workers + (nodes.most if nodes is not None else 0))
        self._nodes = nodes
        self._address = address
        self._workers = workers
        self._quiet = quiet
        self._exporter = exporter
        self._loop = Loop()
        self._stop_on_signals()
        self._lock = address.occupy()
        self._context = zmq.Context()
        self._control = self._context.socket(zmq.ROUTER, socket_class=NotingSocket)
        self._control.setsockopt(zmq.LINGER, 0)
        self._control.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._control.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        # A batch must never be dropped; credits limit how many can be in transit.
        self._control.setsockopt(zmq.SNDHWM, 0)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(address.lifeline)
        except OSError as error:
            raise UserError(f"data server address {address.text!r}: cannot make sockets there: {error}") from None
        self._listener.listen()
        self._guests: dict[Channel, bytes] = {}  # clients that have not said HELLO yet; b"" before their HAIL
        self._lifelines: dict[bytes, Channel] = {}  # those of them that have said HAIL
        self._streams: dict[bytes, Stream] = {}
        self._dormant: dict[Stream, Callable[[], None]] = {}  # with the timer that ends it
        self._root: RootNursery  # from `run` on

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, and not at all if one has come already."""
        self._root = RootNursery(self._loop, self.log)
        self._loop.watch(self._control, self._client_speaks)
        self._listen()
        if self._nodes is not None:
            self._nodes.attach(self._loop, self.log)
        if self._exporter is not None:
            self._exporter.attach(self._loop, self._streams, self._dormant)
            self.log(f"metrics on {self._exporter.url}")
        self.log(f"listening on {self._address.text}, {self._workers} workers per stream")
        try:
            self._loop.run()
        finally:
            self._shut_down()

    # What a stream needs ----------------------------------------------------------------------------------------------

    def send(self, identity: bytes, message: Message) -> None:
        # A client that is gone cannot be routed to; the EOF of its lifeline tells its stream.
        with contextlib.suppress(zmq.ZMQError):
            self._control.send_multipart([identity, encode(message)], zmq.DONTWAIT)

    def close(self, stream: Stream) -> None:
        if stream in self._dormant:
            self._loop.cancel(self._dormant.pop(stream))
        elif stream.client is not None:
            del self._streams[stream.client.identity]
            self._loop.forget(stream.client.lifeline.fileno())
            self._hang_up(stream.client.identity)
        else:  # closed already
            return
        stream.close()
        far = f"; {stream.meter.far_batches} of its batches were made on other hosts" if self._nodes is not None else ""
        self.log(f"stream {stream.name}: closed{far}")

    def make_room(self) -> bool:
        for stream in list(self._dormant):
            self.close(stream)
            return True
        return False

    @property
    def own_bytes(self) -> int:
        return anonymous_bytes(os.getpid()) + self._root.held_bytes

    def in_loop(self, callback: Callable[[], None]) -> None:
        self._loop.hand_over(callback)

    @property
    def last_words(self) -> str:
        """Where to find what a process of ours has said before it died."""
        return "what it said stands above" if self._quiet else "see the data server's log"

    def log(self, text: str) -> None:
        if not self._quiet:
            write_line(f"[data_server {time.strftime('%H:%M:%S')}] {one_line(text)}")

    # The lifeline -----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._loop.watch(self._listener.fileno(), self._client_connects)

    def _client_connects(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it is gone again, or no descriptor is left: then this would be called again and again
            self._loop.forget(self._listener.fileno())
            self._loop.after(_LISTEN_AGAIN_SECONDS, self._listen)
            return
        connection.setblocking(False)
        if len(self._guests) == GUESTS:
            self._turn_away(next(iter(self._guests)))
        lifeline = Channel(connection)
        self._guests[lifeline] = b""
        self._loop.watch(lifeline.fileno(), lambda: self._client_hails(lifeline))

    def _client_hails(self, lifeline: Channel) -> None:
        """The first word on a lifeline."""
        try:
            hails = lifeline.read(Hail)
            if not hails:
                return
            (hail,) = hails
            if not is_trusted(user := peer_user(lifeline.socket)):
                self.log(f"a client of user {user_name(user)} is turned away")
                text = f"this data server is user {user_name(os.geteuid())}'s and serves no other; start your own"
                lifeline.send(Failure(text, True))
                raise ChannelClosed
            if hail.protocol != PROTOCOL_VERSION:
                text = (
                    f"the data server speaks protocol {PROTOCOL_VERSION}, the trainer {hail.protocol}; "
                    "install the same version on both sides"
                )
                lifeline.send(Failure(text, True))
                raise ChannelClosed
            if hail.identity in self._lifelines or hail.identity in self._streams:
                raise MessageError("an identity twice")
            reach("server.hailed")
            self._control.connect(self._address.control(hail.identity))
            lifeline.send(Ready(PROTOCOL_VERSION))
        except (ChannelClosed, MessageError, ValueError):
            self._turn_away(lifeline)
            return
        self._guests[lifeline] = hail.identity
        self._lifelines[hail.identity] = lifeline
        # A client that has no stream yet has nothing to say here.
        self._loop.watch(lifeline.fileno(), lambda: self._reject(hail.identity))

    def _lifeline_speaks(self, client: Client, stream: Stream) -> None:
        """RELEASE, CHECKPOINTED, or the EOF."""
        try:
            messages: list[Release | Checkpointed] = client.lifeline.read(Release, Checkpointed)
            for message in messages:
                if client.identity in self._streams:  # else the message before has ended the stream
                    stream.on_lifeline(message)
        except ChannelClosed:
            self._trainer_died(client, stream)
        except (MessageError, ProtocolError) as error:
            stream.failed(Failure(f"protocol error: {error}", False))

    def _reject(self, identity: bytes) -> None:
        if lifeline := self._lifelines.get(identity):
            self._turn_away(lifeline)

    def _turn_away(self, guest: Channel) -> None:
        identity = self._guests.pop(guest)
        if self._lifelines.pop(identity, None) is not None:
            self._hang_up(identity)
        self._loop.forget(guest.fileno())
        guest.close()

    def _trainer_died(self, client: Client, stream: Stream) -> None:
        self.log(f"stream {stream.name}: the trainer is gone")
        self._loop.forget(client.lifeline.fileno())
        del self._streams[client.identity]
        self._hang_up(client.identity)

        def end() -> None:
            self.close(stream)

        self._dormant[stream] = end
        self._loop.after(stream.linger_seconds, end)
        if not stream.detach():
            end()

    def _hang_up(self, identity: bytes) -> None:
        """Ends the control channel to a client; a dead one may have left its socket."""
        with contextlib.suppress(zmq.ZMQError):
            self._control.disconnect(self._address.control(identity))
        with contextlib.suppress(OSError):
            self._address.control_file(identity).unlink()

    # The control channel ----------------------------------------------------------------------------------------------

    def _client_speaks(self) -> None:
        for _ in range(_MESSAGES_IN_A_ROW):
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
                stream.on_control(decode(data, Predictions, Evaluate, Goodbye), frames)
            elif identity in self._lifelines:
                self._open(identity, decode(data, Hello))
        except (MessageError, ProtocolError) as error:
            if stream is not None:
                stream.failed(Failure(f"protocol error: {error}", False))
            else:
                self._reject(identity)

    def _open(self, identity: bytes, hello: Hello) -> None:
        try:
            check(hello)
            self._find_room(hello)
        except UserError as error:
            with contextlib.suppress(ChannelClosed):
                self._lifelines[identity].send(Failure(str(error), True))
            self._reject(identity)
            return
        lifeline = self._lifelines.pop(identity)
        del self._guests[lifeline]
        client = Client(identity, lifeline, hello.digest)
        reach("server.hello")
        for stream in self._dormant:
            if stream.fits(hello):
                self._loop.cancel(self._dormant.pop(stream))
                self._route(client, stream)
                stream.attach(client, hello)
                return
        try:
            stream = Stream(self, client, hello, self._workers, self._make_pool)
        except NoDescriptorLeft as error:
            self._hang_up(identity)
            self._loop.forget(lifeline.fileno())
            with contextlib.suppress(ChannelClosed):
                lifeline.send(Failure(f"the data server cannot serve you: {error}", False))
            lifeline.close()
            return
        self._route(client, stream)

    def _route(self, client: Client, stream: Stream) -> None:
        """What `client` says from now on is for `stream`."""
        self._streams[client.identity] = stream
        self._loop.watch(client.lifeline.fileno(), lambda: self._lifeline_speaks(client, stream))

    def _find_room(self, hello: Hello) -> None:
        """Raises UserError when there are as many streams as there may be, and this would be another."""
        full = len(self._streams) + len(self._dormant) >= self._descriptors.streams
        if full and not any(stream.fits(hello) for stream in self._dormant) and not self.make_room():
            raise UserError(
                f"the data server serves {self._descriptors}; end one of them, or raise the limit (ulimit -Hn)"
            )

    def _make_pool(self, stream: Stream, config: dict[str, Any]) -> Pool:
        nodes = self._nodes if config["training"] else None  # an evaluation is short
        return Pool(self._loop, stream, config, self._workers, self._root.fork, nodes)

    # The end ----------------------------------------------------------------------------------------------------------

    def _stop_on_signals(self) -> None:
        """A signal handler alone would not end a poll that is waiting; the byte that Python writes for it does."""
        reader, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno())
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: setattr(self._loop, "running", False))
        self._loop.watch(reader.fileno(), lambda: reader.recv(64))

    def _shut_down(self) -> None:
        for stream in [*self._streams.values(), *self._dormant]:
            self.close(stream)
        self._root.kill()
        if self._nodes is not None:
            self._nodes.kill()
        self._control.close()
        self._context.term()
        self._listener.close()
        self._address.vacate()
