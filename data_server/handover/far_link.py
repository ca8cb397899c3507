"""The link between a proxy on the server's host and an agent on another: ZeroMQ over TCP, encrypted by CURVE.

    proxy DEALER ══ JOIN, ASSIGN, PING ══════════════════════════════════► ROUTER agent
                 ◄═ PROOF, STARTED, ATWORK, LOST, REFUSED, WROTE │ frame │ frame │ ... │ frame ══

    frame: the next `FRAME_BYTES` of the payload, the last one shorter; they follow WROTE, each a message of its own

A payload goes in pieces because one of 25 MB would be encrypted, decrypted, copied and hashed one after the other, each
time through memory; a piece stays in the processor's cache for all of that.

Keys are made anew by each server and each agent. An agent serves the one public key that it was started with; a proxy
talks to the one agent whose public key it was told. ZeroMQ answers heartbeats from a thread of its own, so that a peer
is silent only when its process is stopped or its host is gone.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import zmq

FRAME_BYTES = 1 << 18
PING_SECONDS = 1.0
PROXY_SILENCE_SECONDS = 10.0
_HEARTBEAT_MILLISECONDS = 1000
_SILENCE_MILLISECONDS = 3000
_MAX_MESSAGE_BYTES = 1 << 20
_FRAMES_AHEAD = 16
_ORDERS_AHEAD = 16
_SOCKET_BUFFER_BYTES = 4 << 20

BROKEN = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


@dataclass(frozen=True)
class Place:
    """Where a far worker works: the name of its `node`, the `address` and the public key `agent` of the agent there,
    and the server's pair of keys. All are texts, keys in Z85."""

    node: str
    address: str
    agent: str
    public: str
    secret: str

    @property
    def wire(self) -> list[str]:
        return list(astuple(self))

    def __str__(self) -> str:
        return f"node {self.node} ({self.address.removeprefix('tcp://')})"


def to_agent(context: zmq.Context[zmq.Socket[bytes]], place: Place) -> zmq.Socket[bytes]:
    """A proxy's socket. It connects as soon as there is an agent, and again when the connection breaks."""
    far = context.socket(zmq.DEALER)
    _set_up(far)
    far.setsockopt(zmq.RCVHWM, _FRAMES_AHEAD)
    far.setsockopt(zmq.SNDHWM, _ORDERS_AHEAD)
    far.setsockopt(zmq.RCVBUF, _SOCKET_BUFFER_BYTES)
    far.curve_publickey, far.curve_secretkey = place.public.encode(), place.secret.encode()
    far.curve_serverkey = place.agent.encode()
    return far


def to_proxies(context: zmq.Context[zmq.Socket[bytes]], public: bytes, secret: bytes) -> zmq.Socket[bytes]:
    """An agent's socket, not bound yet."""
    router = context.socket(zmq.ROUTER)
    _set_up(router)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.SNDHWM, 0)  # a proxy that does not read has one batch under way and no more
    router.setsockopt(zmq.SNDBUF, _SOCKET_BUFFER_BYTES)
    router.curve_publickey, router.curve_secretkey, router.curve_server = public, secret, True
    return router


def _set_up(end: zmq.Socket[bytes]) -> None:
    end.setsockopt(zmq.LINGER, 0)
    end.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)
    end.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MILLISECONDS)
    end.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MILLISECONDS)
