"""The sockets between a trainer and a data server, and the framed Unix socket that carries descriptors.

A data server lives in a directory of its own, mode 0700, so that only its user can reach it:

    dir/lock        held (flock) for the server's whole life: an orphaned directory is one whose lock is free
    dir/lifeline    Unix stream socket: HAIL, READY, WELCOME with the arena's memfd, then BATCH, RELEASE, CHECKPOINTED;
                    its EOF means that the peer is dead
    dir/cXXXXXXX    a trainer's ZeroMQ DEALER, until its stream is open: HELLO, predictions and metrics

Each side asks the kernel who is at the other end of the lifeline and has to do with this user and root alone: who may
send a config or a batch may run code here.

The trainer's ZeroMQ socket is the one that listens. ZeroMQ ends the process when it has no descriptor left for somebody
who connects; the server connects to those alone whom it has admitted.

ZeroMQ alone cannot tell a slow peer from a dead one, nor pass a descriptor. The lifeline does both: the kernel closes
it the moment the process on the other side is gone, whatever killed it. It is also the shorter way: a message through
ZeroMQ wakes a thread of ZeroMQ's on each side before it wakes the one that waits for it, so the two messages that every
batch needs go over the lifeline.

A `Channel` frames messages on a Unix stream socket (4 bytes length, then the message) and passes descriptors beside
them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import re
import socket
import struct
import tempfile
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import overload

import zmq

from shared.codec import M, N, decode, encode
from shared.errors import UserError
from shared.messages import MAX_MESSAGE_BYTES, Message, MessageError

_FILES = re.compile("lock|lifeline|control|c[0-9a-f]{0,7}")  # "control": of a server before protocol 5
_CREDENTIALS = struct.Struct("iII")  # process, user, group
MAX_SOCKET_PATH = 107  # sizeof(sockaddr_un.sun_path) - 1 on Linux
COMMON = "/tmp"
_PRIVATE = "unidetector-"
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

    def control(self, identity: bytes) -> str:
        """Where the trainer that calls itself `identity` listens, for ZeroMQ."""
        return f"ipc://{self.control_file(identity)}"

    def control_file(self, identity: bytes) -> Path:
        return self.directory / f"c{identity[1:].hex()[:7]}"

    @property
    def lifeline(self) -> str:
        return str(self.directory / "lifeline")

    def is_served(self) -> bool:
        """Whether a data server listens in this directory. Raises UserError as `connect` does."""
        # To try the lock instead would, for a moment, keep a starting server from getting it.
        try:
            self.connect().close()
            return True
        except OSError:
            return False

    def connect(self) -> socket.socket:
        """A connection to the lifeline of the server that listens here.

        Raises:
            UserError: the directory or the server is another user's.
            OSError: there is none.
        """
        self._check_owner()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self.lifeline)
            if not is_trusted(user := peer_user(connection)):
                raise self._foreign(f"the data server there is that of user {user_name(user)}")
            return connection
        except OSError as error:
            connection.close()
            if error.errno in (errno.EACCES, errno.EPERM):
                raise self._foreign(f"{self.directory} is closed to user {user_name(os.geteuid())}") from None
            raise
        except UserError:
            connection.close()
            raise

    def _check_owner(self) -> None:
        """Raises UserError when the directory, or a link to it, is another user's; nothing if there is none."""
        for look in (os.lstat, os.stat):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                try:
                    owner = look(self.directory).st_uid
                except PermissionError:
                    raise self._foreign(f"{self.directory} is closed to user {user_name(os.geteuid())}") from None
                if not is_trusted(owner):
                    raise self._foreign(f"{self.directory} belongs to user {user_name(owner)}")

    def _foreign(self, why: str) -> UserError:
        return UserError(
            f"data server address {self.text!r}: {why}; a trainer and its data server have to be the same user's, "
            "choose another directory"
        )

    def occupy(self) -> int:
        """Makes the directory this process's own and removes what a dead server left there.

        Returns the held lock's descriptor.

        Raises:
            UserError: the directory cannot be used, or another data server is alive in it.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner()
            if foreign := sorted(path.name for path in self.directory.iterdir() if not _FILES.fullmatch(path.name)):
                raise UserError(
                    f"data server address {self.text!r}: {self.directory} holds other files ({foreign[0]!r}); "
                    "choose a directory for the data server alone"
                )
            self.directory.chmod(0o700)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
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
        for path in self._sockets():
            path.unlink(missing_ok=True)
        return lock

    def vacate(self) -> None:
        """Removes the sockets and, when nothing else is in it, the directory."""
        with contextlib.suppress(OSError):  # a trainer that embeds the server removes all by itself
            for path in (*self._sockets(), self.directory / "lock"):
                path.unlink(missing_ok=True)
            self.directory.rmdir()

    def _sockets(self) -> list[Path]:
        return [path for path in self.directory.iterdir() if path.name != "lock" and _FILES.fullmatch(path.name)]


def is_trusted(user: int) -> bool:
    """Whether a user may send this one's processes what they act on."""
    return user in (os.geteuid(), 0)


def peer_user(connection: socket.socket) -> int:
    """The user id of the process at the other end of a Unix socket, from the kernel."""
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(user)


def user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def private_directory() -> str:
    """A new directory for the server that one trainer starts for itself: in XDG_RUNTIME_DIR, else where temporary files
    go, else in /tmp, the first where that is possible and not too deep for a socket.

    Raises:
        UserError: none of them will do.
    """
    reasons = []
    for base in dict.fromkeys(filter(None, (os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR"), COMMON))):
        try:
            made = tempfile.mkdtemp(prefix=_PRIVATE, dir=base)
        except OSError as error:
            reasons.append(f"{base}: {error.strerror}")
            continue
        if len(os.fsencode(made)) <= MAX_SOCKET_PATH - len("/lifeline"):
            return made
        os.rmdir(made)
        reasons.append(f"{base} is too long")
    raise UserError(
        f"no directory for the sockets of a data server can be made ({'; '.join(reasons)}); set TMPDIR to a short path "
        "that you may write to, or start a data server with --listen and join it with --data-server"
    )


def default_address() -> str:
    """Where ``python -m data_server`` listens by default: one place for each user. In /tmp anybody may have made it
    before; then it is refused."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not (os.path.isdir(base) and os.stat(base).st_uid == os.geteuid()):  # sudo keeps another user's
        base = COMMON
    return f"ipc://{base}/unidetector-{os.getuid()}"


def is_readable(control: zmq.Socket[bytes]) -> bool:
    """Whether a message can be received at once. The socket's descriptor reports changes only, and a send on the socket
    may swallow the report; so this is asked before anybody sleeps."""
    return bool(int(control.getsockopt(_EVENTS)) & _READABLE)


class ChannelClosed(Exception):
    """The process at the other end is gone."""


class ChannelFull(ChannelClosed):
    """The process at the other end does not read what it is sent; nothing more can be sent to it."""


class NoDescriptorLeft(Exception):
    """This process, or this machine, has no file descriptor left."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"{error.strerror}: end something, or raise the limit (ulimit -Hn, or fs.file-max)")


class Channel:
    """Messages and descriptors over a connected Unix stream socket.

    Where the peer could be anybody the socket is made non-blocking: nothing is kept for one that does not read. To its
    own processes, which may be stopped, the server sends by way of `never_wait`. Messages stay few (one outstanding
    ASSIGN per worker, one BUILD per nursery).
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = bytearray()
        self._descriptors: list[int] = []
        self._lost = False  # whether some came for which this process had no room
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._when_writable: Callable[[Callable[[], None]], None] | None = None

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel and the raw socket of its other end, to be handed to another process. Raises NoDescriptorLeft."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise NoDescriptorLeft(error) from None
        return cls(ours), theirs

    def fileno(self) -> int:
        return self.socket.fileno()

    def never_wait(self, when_writable: Callable[[Callable[[], None]], None]) -> None:
        """From now on no send waits until the peer reads: what the socket does not take is kept and follows when
        `when_writable` calls the function that it is given, once the socket takes more."""
        self.socket.setblocking(False)
        self._when_writable = when_writable

    def send(self, message: Message, *descriptors: int) -> None:
        """`descriptors` stay the caller's.

        Raises:
            ChannelClosed: the peer is gone.
            ChannelFull: it does not read.
            NoDescriptorLeft: nothing is sent.
        """
        data = encode(message)
        data = _LENGTH.pack(len(data)) + data
        if self._when_writable is not None:
            self._unsent.append((data, _copies(descriptors)))
            if len(self._unsent) == 1:  # else it is waited for already
                self._send_unsent(self._when_writable)
            return
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
            NoDescriptorLeft: this process had no room for those that came.
        """
        if len(self._descriptors) < count and self._lost:
            raise NoDescriptorLeft(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        if len(self._descriptors) < count:
            raise MessageError(f"{count} descriptors should have come with the message, {len(self._descriptors)} did")
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        for _, descriptors in self._unsent:
            for descriptor in descriptors:
                os.close(descriptor)
        self._descriptors = []
        self._unsent.clear()
        self.socket.close()

    def _send_unsent(self, when_writable: Callable[[Callable[[], None]], None]) -> None:
        def again() -> None:
            with contextlib.suppress(ChannelClosed):  # its end of file is in the poll loop
                self._send_unsent(when_writable)

        while self._unsent:
            data, descriptors = self._unsent[0]
            try:
                sent = socket.send_fds(self.socket, [data], descriptors) if descriptors else self.socket.send(data)
            except BlockingIOError:
                when_writable(again)
                return
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            for descriptor in descriptors:
                os.close(descriptor)
            if sent == len(data):
                self._unsent.popleft()
            else:
                self._unsent[0] = (data[sent:], [])

    def _fill(self) -> None:
        try:
            data, ancillary, flags, _ = self.socket.recvmsg(_READ_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise ChannelClosed(str(error)) from None
        if not data:
            raise ChannelClosed("end of file")
        self._buffer += data
        self._lost |= bool(flags & socket.MSG_CTRUNC)
        for _, _, descriptors in ancillary:
            self._descriptors += array("i", descriptors)
        if len(self._descriptors) > _MAX_DESCRIPTORS:
            raise MessageError(f"more than {_MAX_DESCRIPTORS} descriptors that no message has asked for")


def _copies(descriptors: tuple[int, ...]) -> list[int]:
    """Duplicates, which become the caller's. Raises NoDescriptorLeft."""
    copies: list[int] = []
    try:
        for descriptor in descriptors:
            copies.append(os.dup(descriptor))
    except OSError as error:
        for copy in copies:
            os.close(copy)
        raise NoDescriptorLeft(error) from None
    return copies
