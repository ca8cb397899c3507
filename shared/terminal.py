"""Lines for a person: what they may hold, and that none of a log ends the program.

Names of files and classes, and what the other process says, are somebody else's text. In it a control character could
clear the screen, forge a line or move the cursor, so each becomes its escape (``\\x1b``) before it is shown.

A log may have nobody who reads it any more (``| tee`` that was killed, a closed ssh session), or lie on a full disk. A
line that cannot be written is lost, and nothing else happens.

Where the environment names a file (`LOG`), it gets the lines as well: those of the process and of all that it starts.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import unicodedata

from shared.errors import UserError

LOG = "UNIDETECTOR_LOG"
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (direction, width zero), surrogates, separators of lines
_PIECE = select.PIPE_BUF  # what a pipe that can be written to takes at once
_PATIENCE_MS = 100  # for a reader that is slow; one that has stopped keeps nobody waiting


def one_line(text: str) -> str:
    """`text` with an escape for each character that is not a visible one or a space; a new line is such a character."""
    if text.isprintable():
        return text
    return "".join(_escaped(character) if _is_unseen(character) else character for character in text)


def printable(text: str) -> str:
    """`text`, which may have several lines, without any other control characters."""
    return "\n".join(map(one_line, text.split("\n")))


def show(text: str) -> None:
    """Writes a result, of one line or several, to standard output, control characters as their escapes.

    Raises:
        UserError: it cannot be written: unlike a line of a log, it is what was asked for.
    """
    if (stream := sys.stdout) is None:  # closed before the program began
        return
    keep(text)
    data = printable(text) + "\n"
    try:
        stream.flush()
        if stream is (file := sys.__stdout__) and file is not None:
            # Straight to the file: what a buffer could not get rid of it would try to at exit again.
            rest = data.encode(errors="backslashreplace")
            while rest:
                rest = rest[os.write(file.fileno(), rest) :]
        else:
            stream.write(data)
            stream.flush()
    except OSError as error:
        raise UserError(
            f"cannot write the result to standard output: {error.strerror}; free some space, or send it elsewhere"
        ) from error


def write_line(text: str) -> None:
    """Writes `text` and a new line to standard error if it can be written; never raises for lack of a reader."""
    keep(text)
    data = printable(text) + "\n"
    if (stream := sys.stderr) is None:  # closed before the program began
        return
    try:
        if stream is (file := sys.__stderr__) and file is not None:
            # Straight to the file: what a buffer could not get rid of it would try to at exit again.
            _write(file.fileno(), data.encode(errors="backslashreplace"))
        else:
            stream.write(data)
            stream.flush()
    except (OSError, ValueError):  # nobody reads, no room; or the file is closed
        pass


def keep(text: str) -> None:
    """Adds `text` and a new line to the log file alone, if there is one that takes them."""
    if not (path := os.environ.get(LOG)):
        return
    with contextlib.suppress(OSError):  # no room, or no folder yet
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(file, (printable(text) + "\n").encode(errors="backslashreplace"))
        finally:
            os.close(file)


def _write(descriptor: int, data: bytes) -> None:
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    while data and ready.poll(_PATIENCE_MS):
        data = data[os.write(descriptor, data[:_PIECE]) :]


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
