"""The proxy of a worker on another host. To its server it is a worker like any other: forked by the stream's nursery,
the owner of the slot that it writes, dead when its far end is.

    server ──ASSIGN──► proxy ══════ASSIGN══════► agent ──► worker there, in an arena of one slot
    server ◄──WROTE─── proxy ◄══WROTE, frames═══ agent     each frame goes into the slot and is hashed on the way

    joining ──PROOF as ours──► waiting ──STARTED──► idle ◄──► at work
       └── another proof: REFUSED to the server             └── LOST: the same death; a broken link: the end, code 0

A far worker that dies takes its proxy along, with the same signal or exit code and with word in the slot of the sample
in hand. One that its agent had to kill is reported to the server with the reason, and the server kills the proxy for
it. A far end that falls silent ends the proxy, too: only then, known to be dead, is its slot free, and nothing
that comes late can be written. So ledger and arena know nothing of hosts.

A far worker that cannot use an image proves nothing: the file may be damaged there alone. The proxy then makes the
batch itself, and where the bytes differ its node is refused.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import replace
from typing import Any, overload

import numpy as np
import zmq

from data_server.datasets.parts import Datasets
from data_server.datasets.samples import BadSample
from data_server.handover.comparison import difference
from data_server.handover.far_link import BROKEN, PING_SECONDS, Place, to_agent
from data_server.workers.announce import announce
from data_server.workers.proof import files
from data_server.workers.worker import make_batch, microseconds_since, prepare
from shared.arena import Arena
from shared.channel import Channel
from shared.checksum import Checksum
from shared.codec import M, N, decode, encode
from shared.errors import UserError
from shared.layout import Layout, LayoutError
from shared.messages import (
    PROTOCOL_VERSION,
    Assign,
    AtWork,
    Build,
    Failure,
    Join,
    Lost,
    Message,
    MessageError,
    Notice,
    Ping,
    Proof,
    Refused,
    Spawn,
    Started,
    Wrote,
)

_POLL_MILLISECONDS = int(PING_SECONDS * 1000)


def run(
    channel: Channel,
    datasets: Datasets,
    config: dict[str, Any],
    proof: Proof,
    build: Build,
    spawn: Spawn,
    memory: int,
) -> None:
    """Serves assignments by way of the agent at `spawn.far`. `memory` is the arena's descriptor. Raises ChannelClosed
    when the server is gone."""
    arena = Arena(memory, spawn.slots, spawn.slot_bytes, writable=True)
    os.close(memory)
    proxy = _Proxy(channel, datasets, config, arena, Place(*spawn.far))
    try:
        proxy.join(build, proof)
        proxy.serve()
    except _LinkBrokenError as error:
        channel.send(Notice(f"{proxy.place} {error}"))
    except _RefusedError as error:
        channel.send(Refused(f"{proxy.place} is not used for this stream: {error}"))
    except MessageError as error:
        channel.send(Refused(f"{proxy.place} is not used for this stream: it breaks the protocol: {error}"))


class _LinkBrokenError(Exception):
    """Nothing will come from the agent any more."""


class _RefusedError(Exception):
    """The node makes other bytes, or none."""


class _Proxy:
    def __init__(
        self, channel: Channel, datasets: Datasets, config: dict[str, Any], arena: Arena, place: Place
    ) -> None:
        self.place = place
        self._channel = channel
        self._datasets = datasets
        self._config = config
        self._arena = arena
        self._context = zmq.Context()
        self._pinged = 0.0
        self._order: Assign | None = None
        self._begun = 0.0  # of the order, on the clock of this process' processor time
        self._connect()

    def _connect(self) -> None:
        self._far = to_agent(self._context, self.place)
        self._broken = self._far.get_monitor_socket(BROKEN)
        self._far.connect(self.place.address)
        self._poller = zmq.Poller()
        for one in (self._channel.fileno(), self._far, self._broken):
            self._poller.register(one, zmq.POLLIN)

    def join(self, build: Build, ours: Proof) -> None:
        """JOINING to idle. Waits for as long as there is no agent.

        Raises:
            _RefusedError: the agent's host makes other bytes than this one.
        """
        while True:
            self._far.send(
                encode(Join(PROTOCOL_VERSION, build.config, build.directory or os.getcwd(), self._arena.slot_bytes))
            )
            try:
                if reason := difference(ours, self._expect(Proof), files(self._datasets)):
                    raise _RefusedError(reason)
                self._expect(Started)
                break
            except _LinkBrokenError:  # nothing is lost yet: perhaps there will be an agent again
                time.sleep(PING_SECONDS)
                self._far.close()
                self._connect()
        announce(self._channel)

    def serve(self) -> None:
        while True:
            self._order = None
            self._idle()
            self._order = order = self._channel.receive(Assign)
            self._begun = time.process_time()
            self._arena.take_in_hand(order.slot, 0)
            self._far.send(encode(order))
            answer = self._expect(Wrote, Failure)
            if isinstance(answer, Failure) or answer.replaced:
                self._make_here(order, answer)
            else:
                self._channel.send(self._received(order, answer))

    def _idle(self) -> None:
        """Returns when the server has an order."""
        while self._channel.fileno() not in (ready := self._poll()):
            if self._far in ready:
                self._die(decode(self._far.recv(), Lost))
            if self._broken in ready:
                raise _LinkBrokenError("does not answer any more")

    @overload
    def _expect(self, one: type[M], /) -> M: ...

    @overload
    def _expect(self, one: type[M], another: type[N], /) -> M | N: ...

    def _expect(self, *expected: type[Message]) -> Message:
        """The agent's next message, one of `expected`."""
        while True:
            message: Message = decode(self._hear(), *expected, AtWork, Lost, Refused)
            if isinstance(message, AtWork):
                if self._order is not None:
                    self._arena.take_in_hand(self._order.slot, message.place, message.note)
            elif isinstance(message, Lost):
                self._die(message)
            elif isinstance(message, Refused):
                raise _RefusedError(message.text)
            else:
                return message

    def _hear(self) -> bytes:
        """What the agent says next. Raises ChannelClosed when the server is gone."""
        while True:
            ready = self._poll()
            if self._far in ready:
                return self._far.recv()
            if self._broken in ready:
                raise _LinkBrokenError("does not answer any more")
            if self._channel.fileno() in ready:
                self._channel.read()

    def _poll(self) -> dict[Any, int]:
        now = time.monotonic()
        if now - self._pinged > PING_SECONDS:
            self._pinged = now
            with contextlib.suppress(zmq.Again):  # enough of them wait for an agent
                self._far.send(encode(Ping()), zmq.DONTWAIT)
        return dict(self._poller.poll(_POLL_MILLISECONDS))

    def _received(self, order: Assign, wrote: Wrote) -> Wrote:
        """Puts the payload that follows `wrote` into the slot."""
        try:
            layout = Layout.from_wire(wrote.layout, self._arena.capacity)
        except LayoutError as error:
            raise MessageError(str(error)) from None
        payload = self._arena.payload(order.slot)
        checksum = Checksum(payload, wanted=self._config["feed"]["checksum"])
        end = 0
        while end < layout.nbytes:
            frame = np.frombuffer(self._hear(), np.uint8)
            if not 0 < len(frame) <= layout.nbytes - end:
                raise MessageError(f"a frame of {len(frame)} bytes where {layout.nbytes - end} are left")
            payload[end : end + len(frame)] = frame
            end += len(frame)
            checksum.passed(end)
        digest = self._arena.seal(order.slot, order.generation, order.step, layout, checksum)
        if digest != wrote.digest:
            raise _LinkBrokenError(f"sent a damaged batch of step {order.step}")
        spent = microseconds_since(self._begun)
        return Wrote(order.step, order.slot, order.generation, wrote.layout, digest, [], wrote.memory, spent)

    def _make_here(self, order: Assign, answer: Wrote | Failure) -> None:
        """An image cannot be used there. Makes the batch here.

        Raises:
            _RefusedError: the image can be used here; the batch is made.
        """
        if isinstance(answer, Wrote):  # let its payload pass
            self._received(order, answer)
        prepare()
        try:
            wrote = make_batch(self._arena, self._datasets, self._config, order)
        except (UserError, BadSample) as error:
            self._channel.send(Failure(str(error), True))
            return
        self._channel.send(wrote)
        if isinstance(answer, Failure) or (answer.digest, answer.replaced) != (wrote.digest, wrote.replaced):
            said = answer.text if isinstance(answer, Failure) else answer.replaced[0]
            raise _RefusedError(f"the batch of step {order.step} can be made here, and there not: {said}")

    def _die(self, lost: Lost) -> None:
        """Ends this process as the far worker has ended."""
        if self._order is not None and lost.place:
            self._arena.take_in_hand(self._order.slot, lost.place, lost.note)
        if lost.verdict:  # the server passes it as its own, and ends this process
            self._channel.send(replace(lost, verdict=f"{lost.verdict}, on {self.place}"))
            signal.pause()
        if lost.signal in signal.valid_signals() and lost.signal:
            if lost.signal not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(lost.signal, signal.SIG_DFL)
            os.kill(os.getpid(), lost.signal)
        os._exit(lost.code)
