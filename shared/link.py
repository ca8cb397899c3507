"""The sockets between a trainer and a data server, and the framed Unix socket that carries descriptors.

A data server lives in a directory of its own, mode 0700, so that only its user can reach it:

    dir/lock        held (flock) for the server's whole life: an orphaned directory is one whose lock is free
    dir/control     ZeroMQ ROUTER: HELLO, predictions and metrics
    dir/lifeline    Unix stream socket: HAIL, READY, WELCOME with the arena's memfd, then BATCH, RELEASE, CHECKPOINTED;
                    its EOF means that the peer is dead

ZeroMQ alone cannot tell a slow peer from a dead one, nor pass a descriptor. The lifeline does both: the kernel closes
it the moment the process on the other side is gone, whatever killed it. It is also the shorter way: a message through
ZeroMQ wakes a thread of ZeroMQ's on each side before it wakes the one that waits for it, so the two messages that every
batch needs go over the lifeline.

A `Channel` frames messages on a Unix stream socket (4 bytes length, then the message) and passes descriptors beside
them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from array import array
from pathlib import Path
from typing import overload

import zmq

from shared.codec import M, N, decode, encode
from shared.errors import UserError
from shared.messages import MAX_MESSAGE_BYTES, Message, MessageError

_FILES = ("control", "lifeline", "lock")
MAX_SOCKET_PATH = 107  # sizeof(sockaddr_un.sun_path) - 1 on Linux
_LENGTH = struct.Struct("<I")
_MAX_DESCRIPTORS = 4
_ANCILLARY_BYTES = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array("i").itemsize)
_READ_BYTES = 1 << 14
# As plain numbers: to combine zmq's own, which are flags, takes longer than to ask a socket.
_EVENTS, _READABLE = int(zmq.EVENTS), int(zmq.POLLIN)


class Address:
    """The directory of a data server, written ``ipc:///path/to/dir``."""

    def __init__(self, text: str) -> None:
        """Raises UserError when `text` is no such address or its sockets' paths would be too long for the kernel."""
        if not text.startswith("ipc:///"):
            raise UserError(f"data server address {text!r}: expected ipc:///DIRECTORY, such as ipc:///tmp/feed")
        self.text = text
        self.directory = Path(text.removeprefix("ipc://"))
        longest = len(os.fsencode(self.directory / "lifeline"))
        if longest > MAX_SOCKET_PATH:
            raise UserError(
                f"data server address {text!r}: the socket path is {longest} bytes long, the kernel allows "
                f"{MAX_SOCKET_PATH}; choose a shorter directory"
            )

    @property
    def control(self) -> str:
        return f"ipc://{self.directory / 'control'}"

    @property
    def lifeline(self) -> str:
        return str(self.directory / "lifeline")

    def is_served(self) -> bool:
        """Whether a data server listens in this directory."""
        # To try the lock instead would, for a moment, keep a starting server from getting it.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(self.lifeline) == 0

    def occupy(self) -> int:
        """Makes the directory this process's own and removes what a dead server left there.

        Returns the held lock's descriptor.

        Raises:
            UserError: the directory cannot be used, or another data server is alive in it.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if foreign := sorted({path.name for path in self.directory.iterdir()} - set(_FILES)):
                raise UserError(
                    f"data server address {self.text!r}: {self.directory} holds other files ({foreign[0]!r}); "
                    "choose a directory for the data server alone"
                )
            self.directory.chmod(0o700)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserError(
                f"data server address {self.text!r}: cannot use directory {self.directory}: {error.strerror}; "
                "choose a directory you may write to"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise UserError(
                f"data server address {self.text!r}: another data server is running there; "
                "stop it or choose another directory"
            ) from None
        for name in ("control", "lifeline"):
            (self.directory / name).unlink(missing_ok=True)
        return lock

    def vacate(self) -> None:
        """Removes the sockets and, when nothing else is in it, the directory."""
        for name in _FILES:
            (self.directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()


def default_address() -> str:
    """Where ``python -m data_server`` listens by default: one place for each user."""
    base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"
    return f"ipc://{base}/unidetector-{os.getuid()}"


def is_readable(control: zmq.Socket[bytes]) -> bool:
    """Whether a message can be received at once. The socket's descriptor reports changes only, and a send on the socket
    may swallow the report; so this is asked before anybody sleeps."""
    return bool(int(control.getsockopt(_EVENTS)) & _READABLE)


class ChannelClosed(Exception):
    """The process at the other end is gone."""


class ChannelFull(ChannelClosed):
    """The process at the other end does not read what it is sent; nothing more can be sent to it."""


class Channel:
    """Messages and descriptors over a connected Unix stream socket.

    Messages stay small and few (one outstanding ASSIGN per worker, BATCHes bounded by credits), so a send never fills
    the socket's buffer. Where the peer could be anybody the socket is made non-blocking, so that nobody waits for one
    that does not read.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = bytearray()
        self._descriptors: list[int] = []

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel and the raw socket of its other end, to be handed to another process."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: Message, *descriptors: int) -> None:
        """Raises ChannelClosed when the peer is gone, ChannelFull when it does not read. `descriptors` stay the
        caller's."""
        data = encode(message)
        data = _LENGTH.pack(len(data)) + data
        try:
            if descriptors:
                data = data[socket.send_fds(self.socket, [data], list(descriptors)) :]
            self.socket.sendall(data)
        except BlockingIOError:
            raise ChannelFull("its buffer is full") from None
        except OSError as error:
            raise ChannelClosed(str(error)) from None

    @overload
    def receive(self, one: type[M], /) -> M: ...

    @overload
    def receive(self, one: type[M], another: type[N], /) -> M | N: ...

    @overload
    def receive(self, *expected: type[M]) -> M: ...

    def receive(self, *expected: type[M]) -> M:
        """Waits for one message. Raises ChannelClosed at EOF, MessageError for garbage."""
        while (message := self.poll(*expected)) is None:
            self._fill()
        return message

    def read(self, *expected: type[M]) -> list[M]:
        """What can be read without waiting; call it when the socket is readable. Raises ChannelClosed at EOF,
        MessageError for garbage."""
        self._fill()
        messages = []
        while (message := self.poll(*expected)) is not None:
            messages.append(message)
        return messages

    def poll(self, *expected: type[M]) -> M | None:
        """The next message that has arrived completely, or None."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_MESSAGE_BYTES:
            raise MessageError(f"a frame of {length} bytes, the limit is {MAX_MESSAGE_BYTES}")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        data = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return decode(data, *expected)

    def take_descriptors(self, count: int) -> list[int]:
        """The first `count` descriptors received and not yet taken; they become the caller's.

        Raises:
            MessageError: fewer came.
        """
        if len(self._descriptors) < count:
            raise MessageError(f"{count} descriptors should have come with the message, {len(self._descriptors)} did")
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        self.socket.close()

    def _fill(self) -> None:
        try:
            data, ancillary, _, _ = self.socket.recvmsg(_READ_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise ChannelClosed(str(error)) from None
        if not data:
            raise ChannelClosed("end of file")
        self._buffer += data
        for _, _, descriptors in ancillary:
            self._descriptors += array("i", descriptors)
        if len(self._descriptors) > _MAX_DESCRIPTORS:
            raise MessageError(f"more than {_MAX_DESCRIPTORS} descriptors that no message has asked for")
