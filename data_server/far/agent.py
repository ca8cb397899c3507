"""An agent: the workers of proxies on other hosts. One on each node, started by the node's actor; it holds nothing that
is worth keeping.

    proxies ══ ROUTER, TCP, CURVE ══► agent ──► root nursery ──► a data set's nursery ──► workers, one for each proxy

    python -m data_server.far.agent tcp://10.0.0.7:* KEY PARENT     prints its address and public key; serves KEY alone

It binds the one address that it is told. A peer with another key, or with none, does not get past ZeroMQ's handshake;
what an accepted one says is decoded like everything that comes from outside, and one that breaks the protocol loses its
worker. A proxy that has been silent for some seconds is gone, and so is its worker then.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from data_server.far.group import Group
from data_server.far.remote import Remote
from data_server.handover.far_link import BROKEN, FRAME_BYTES, PROXY_SILENCE_SECONDS, to_proxies
from data_server.serving.loop import Loop
from data_server.serving.root_nursery import RootNursery
from shared.codec import decode, encode
from shared.layout import Layout
from shared.lifetime import die_with_parent
from shared.messages import (
    PROTOCOL_VERSION,
    Assign,
    Build,
    Join,
    Message,
    MessageError,
    Ping,
    Refused,
    Wrote,
)
from shared.terminal import one_line, write_line

_LOOK_SECONDS = 0.25
_MESSAGES_IN_A_ROW = 64
_TELL_SECONDS = 1.0


class Agent:
    """Serves at `bind` who has the public key `accepted`, Z85."""

    def __init__(self, bind: str, accepted: str) -> None:
        self._loop = Loop()
        self._context = zmq.Context()
        public, secret = zmq.curve_keypair()
        self._router = to_proxies(self._context, public, secret)
        self._doorman = ThreadAuthenticator(self._context)
        self._doorman.start()
        self._doorman.configure_curve_callback("*", credentials_provider=_OneKey(accepted.encode()))
        self._refused = self._router.get_monitor_socket(BROKEN & ~zmq.EVENT_DISCONNECTED)
        self._refusals = 0
        self._told = 0.0
        self._groups: dict[bytes, Group] = {}  # by the encoded BUILD
        self._members: dict[bytes, Group] = {}  # by proxy
        self._router.bind(bind)
        self.address = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.key = public.decode()

    def run(self) -> None:
        self._root = RootNursery(self._loop, self.log)
        self._loop.watch(self._router, self._proxies_speak)
        self._loop.watch(self._refused, self._somebody_was_refused)
        self._loop.after(_LOOK_SECONDS, self._look)
        self._loop.run()

    # What a group needs -----------------------------------------------------------------------------------------------

    def say(self, proxy: bytes, message: Message) -> None:
        self._send(proxy, encode(message))

    def send_payload(self, remote: Remote, wrote: Wrote) -> None:
        """WROTE and the frames; the worker writes its slot again only when the proxy has had all of them."""
        if not self._send(remote.proxy, encode(wrote)):
            return
        nbytes = Layout.from_wire(wrote.layout, remote.arena.capacity).nbytes
        payload = remote.arena.payload(0)
        for start in range(0, nbytes, FRAME_BYTES):
            if not self._send(remote.proxy, payload[start : min(start + FRAME_BYTES, nbytes)].data):
                return

    def log(self, text: str) -> None:
        write_line(f"[agent {time.strftime('%H:%M:%S')}] {one_line(text)}")

    def forget(self, group: Group) -> None:
        self._groups = {key: one for key, one in self._groups.items() if one is not group}
        self._members = {proxy: one for proxy, one in self._members.items() if one is not group}

    # ------------------------------------------------------------------------------------------------------------------

    def _send(self, proxy: bytes, data: bytes | memoryview) -> bool:
        """Returns whether the proxy is still connected; if it is not, its silence will end its worker."""
        try:
            self._router.send_multipart([proxy, data])
            return True
        except zmq.ZMQError:
            return False

    def _proxies_speak(self) -> None:
        for _ in range(_MESSAGES_IN_A_ROW):
            try:
                proxy, data, *more = self._router.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            except ValueError:  # a peer that sent no message part
                continue
            try:
                if more:
                    raise MessageError("a message of several frames")
                self._hear(proxy, decode(data, Join, Assign, Ping))
            except MessageError as error:
                self.log(f"a proxy breaks the protocol: {error}")
                self.say(proxy, Refused(f"protocol error: {error}"))
                if group := self._members.pop(proxy, None):
                    group.drop(proxy)

    def _hear(self, proxy: bytes, message: Join | Assign | Ping) -> None:
        group = self._members.get(proxy)
        if group is not None and proxy in group.remotes:
            group.remotes[proxy].heard = time.monotonic()
        match message:
            case Join():
                self._join(proxy, message)
            case Assign():
                if group is None:
                    raise MessageError("ASSIGN before JOIN")
                group.assign(proxy, message)

    def _join(self, proxy: bytes, join: Join) -> None:
        if proxy in self._members:
            raise MessageError("JOIN twice")
        if join.protocol != PROTOCOL_VERSION:
            text = f"it speaks protocol {PROTOCOL_VERSION}, this host {join.protocol}; install the same version on both"
            self.say(proxy, Refused(text))
            return
        build = Build(join.config, join.directory)
        key = encode(build)
        if key not in self._groups:
            self._groups[key] = Group(self._loop, self, build, self._root.fork())
        self._members[proxy] = self._groups[key]
        self._groups[key].join(proxy, join)

    def _look(self) -> None:
        now = time.monotonic()
        for group in list(self._groups.values()):
            group.look(now, PROXY_SILENCE_SECONDS)
        self._members = {proxy: group for proxy, group in self._members.items() if group.has(proxy)}
        self._loop.after(_LOOK_SECONDS, self._look)

    def _somebody_was_refused(self) -> None:
        """Once a second at most: who tries all keys must not fill the log."""
        event = recv_monitor_message(self._refused, zmq.DONTWAIT)
        self._refusals += 1
        if (now := time.monotonic()) - self._told > _TELL_SECONDS:
            last = zmq.Event(event["event"]).name
            self.log(f"{self._refusals} peers with another key or none were refused, the last: {last}")
            self._told, self._refusals = now, 0


class _OneKey:
    """Whom ZeroMQ's handshake lets in."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def callback(self, _domain: str, key: bytes) -> bool:
        return key == self._key


def main() -> None:
    bind, accepted, parent = sys.argv[1], sys.argv[2], int(sys.argv[3])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # only a trainer touches a GPU
    agent = Agent(bind, accepted)
    sys.stdout.write(f"{agent.address} {agent.key}\n")
    sys.stdout.flush()
    agent.run()


if __name__ == "__main__":
    main()
