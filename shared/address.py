"""Where a data server is found: a directory of its own, mode 0700, so that only its user can reach it.

    dir/lock        held (flock) for the server's whole life: an orphaned directory is one whose lock is free
    dir/lifeline    Unix stream socket: HAIL, READY, WELCOME with the arena's memfd, then BATCH, RELEASE, CHECKPOINTED;
                    its EOF means that the peer is dead
    dir/cXXXXXXX    a trainer's ZeroMQ DEALER, until its stream is open: HELLO, predictions and metrics

Each side asks the kernel who is at the other end of the lifeline and has to do with this user and root alone: who may
send a config or a batch may run code here.

The trainer's ZeroMQ socket is the one that listens. ZeroMQ ends the process when it has no descriptor left for somebody
who connects; the server connects to those alone whom it has admitted.

ZeroMQ alone cannot tell a slow peer from a dead one, nor pass a descriptor. The lifeline does both (`shared.channel`):
the kernel closes it the moment the process on the other side is gone, whatever killed it. It is also the shorter way: a
message through ZeroMQ wakes a thread of ZeroMQ's on each side before it wakes the one that waits for it, so the two
messages that every batch needs go over the lifeline.
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
from pathlib import Path

from shared.errors import UserError

_FILES = re.compile("lock|lifeline|control|c[0-9a-f]{0,7}")  # "control": of a server before protocol 5
_CREDENTIALS = struct.Struct("iII")  # process, user, group
MAX_SOCKET_PATH = 107  # sizeof(sockaddr_un.sun_path) - 1 on Linux
COMMON = "/tmp"
_PRIVATE = "unidetector-"


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
