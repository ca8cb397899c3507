"""Messages and descriptors between two processes of one machine.

Unix stream socket:   4 bytes length │ message │ 4 bytes length │ message ...      descriptors beside their message
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from array import array
from collections import deque
from collections.abc import Callable
from typing import overload

import zmq

from shared.codec import M, N, decode, encode
from shared.messages import MAX_MESSAGE_BYTES, Message, MessageError

_LENGTH = struct.Struct("<I")
_MAX_DESCRIPTORS = 4
_ANCILLARY_BYTES = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array("i").itemsize)
_READ_BYTES = 1 << 14
# As plain numbers: to combine flags takes longer than to ask a socket.
_EVENTS, _READABLE = int(zmq.EVENTS), int(zmq.POLLIN)
_TRUNCATED = int(socket.MSG_CTRUNC)


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
            self._unsent.append((data, _copies(descriptors) if descriptors else []))
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

    def _send_again(self) -> None:
        assert self._when_writable is not None
        with contextlib.suppress(ChannelClosed):  # its end of file is in the poll loop
            self._send_unsent(self._when_writable)

    def _send_unsent(self, when_writable: Callable[[Callable[[], None]], None]) -> None:
        while self._unsent:
            data, descriptors = self._unsent[0]
            try:
                sent = socket.send_fds(self.socket, [data], descriptors) if descriptors else self.socket.send(data)
            except BlockingIOError:
                when_writable(self._send_again)
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
        if flags & _TRUNCATED:
            self._lost = True
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


def is_readable(control: zmq.Socket[bytes]) -> bool:
    """Whether a message can be received at once. The socket's descriptor reports changes only, and a send on the socket
    may swallow the report; so this is asked before anybody sleeps."""
    return bool(int(control.getsockopt(_EVENTS)) & _READABLE)
