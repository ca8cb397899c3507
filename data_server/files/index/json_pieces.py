"""A JSON file of any size, read a piece at a time: an object whose long lists hold objects.

    {"info": {…}, "images": [{…}, {…}, {…}, {…}, {…}], "categories": […]}
                             └── piece ──┘  └── piece ┘
                                          ▲
                                 a cut: `}` `,` `{`

A list is cut where `}` `,` `{` stand in a row. That may be within a text, or between the objects of a list within a
record. But a piece begins at a record; `[` + piece + `]` is valid JSON only if the piece ends where a record ends, for
otherwise something in it is still open: a text, which would swallow the `]`, or an object or list, which the `]` does
not close. So a cut that parses is right, and one that does not is tried elsewhere.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import json
import os
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

_PIECE = 1 << 18  # with what is made of it, it fits into a core's own cache
_LARGEST = 1 << 26  # a piece, that is a record; a value that is no list of records
_TRIES = 64
_LONGEST_SPACE = 1 << 16
_CUT = rb"\}\s*,\s*\{"
_FIRST_KEY = re.compile(rb'\{\s*("(?:[^"\\]|\\.)*")')
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
_SPACE = b" \t\n\r"
_OPEN, _BRACE, _CLOSE = b"[{]"

Places = npt.NDArray[np.int64]
Take = Callable[[list[Any], Places, Places], None]


class Unfit(Exception):
    """A file that is not taken in; the text says why."""


class _Skipped(msgspec.Struct, gc=False):
    """A record of which nothing is wanted."""


_SKIP = msgspec.json.Decoder(list[_Skipped])
_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_VALUE = json.JSONDecoder()


class JsonFile:
    """An open file that holds a JSON object.

    Args:
        progress: called with the number of bytes that have been read.
    """

    def __init__(self, descriptor: int, progress: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._progress = progress
        self._text, self._braces = bytearray(), np.empty(0, bool)

    def read(
        self, records: dict[str, tuple[msgspec.json.Decoder[list[Any]], Take]], values: Collection[str]
    ) -> dict[str, Any]:
        """Reads the file from end to end.

        Args:
            values: keys whose values are wanted.
            records: by key of the object, a decoder of a list and what takes its records, as they come: the records,
                int64 (n,) at which byte each begins, and how many bytes long it is, with the spaces and the comma that
                follow.

        Returns:
            the wanted values that are there.

        Raises:
            Unfit: it is no JSON object, a key is there twice, a record is not of its type, or something is too long to
                be read as a whole.
        """
        with _uncollected():
            return self._read(records, values)

    def _read(
        self, records: dict[str, tuple[msgspec.json.Decoder[list[Any]], Take]], values: Collection[str]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        seen: set[str] = set()
        at = self._expect(b"{", 0)
        while not self._is(b"}", at) or seen:
            key, at = self._value(at)
            if not isinstance(key, str) or key in seen:
                raise Unfit(f"key {key!r} of the file's object stands there twice, or is none")
            seen.add(key)
            at = self._expect(b":", at)
            if key in records:
                at = self._records(self._expect(b"[", at), *records[key])
            elif key in values:
                found[key], at = self._value(at)
            elif self._is(b"[", at) and self._is(b"{", self._expect(b"[", at)):
                at = self._records(self._expect(b"[", at), _SKIP, lambda *_: None)
            else:
                _, at = self._value(at)
            at = self._skip(at)
            if not self._is(b",", at):
                break
            at = self._expect(b",", at)
        at = self._expect(b"}", at)
        if at != self._size:
            raise Unfit(f"something follows the object, at byte {at}")
        return found

    def _records(self, at: int, decoder: msgspec.json.Decoder[list[Any]], take: Take) -> int:
        """A list, whose first record begins at `at`; returns where it ends."""
        if self._is(b"]", at):
            return at + 1
        size, cuts = _PIECE, [re.compile(_CUT)]
        while True:
            text = self._opened(at, size)
            if len(cuts) == 1 and (first := _FIRST_KEY.match(text, 1)):
                # Records of one list begin with the same key; objects within them mostly with another.
                cuts.insert(0, re.compile(_CUT + rb"\s*" + re.escape(first[1]) + rb"\s*:"))
            piece = _piece(text, decoder, cuts)
            if piece is None:
                if len(text) <= size or size >= _LARGEST:
                    raise Unfit(f"no end of a record is found after byte {at}")
                size *= 4
                continue
            records, length, is_last = piece
            if not text.isascii():
                _check_text(text[1 : 1 + length])  # the decoder does not look into texts that it skips
            take(records, *self._places(text, length, len(records), at))
            del records, piece  # their memory is where the next ones are made, while a core still has it at hand
            at += length
            self._progress(at)
            if is_last:
                return self._expect(b"]", at)
            at = self._expect(b",", self._skip(at))
            size = _PIECE

    def _opened(self, at: int, size: int) -> bytearray:
        """`[` and `size` bytes of the file, fewer at its end; the next call overwrites them."""
        if len(self._text) != size + 1:
            self._text = bytearray(size + 1)
            self._braces = np.empty(size, bool)
        self._text[0] = _OPEN
        count = os.preadv(self._descriptor, [memoryview(self._text)[1:]], at)
        return self._text if count == size else self._text[: 1 + count]

    def _places(self, text: bytearray, length: int, count: int, at: int) -> tuple[Places, Places]:
        """int64 (count,) where each record in `length` bytes of `text`, behind its `[`, begins in the file, of which
        they begin at byte `at`, and how long it is with what separates it from the next."""
        piece = np.frombuffer(text, np.uint8, length, 1)
        starts = np.flatnonzero(np.equal(piece, _BRACE, out=self._braces[:length]))
        if len(starts) != count:  # each record has one at least; so here some have more, in texts or objects within
            found, end, inside = [], 0, bytes(piece)
            for raw in _RAW.decode(b"[" + inside + b"]"):
                found.append(inside.index(b"{", end))
                end = found[-1] + memoryview(raw).nbytes
            starts = np.array(found, np.int64)
        return starts + at, np.append(starts[1:], length) - starts

    def _value(self, at: int) -> tuple[Any, int]:
        """A value of any kind and where it ends."""
        size = 1 << 12
        while True:
            data = self._bytes(at, size)
            whole = at + len(data) == self._size
            try:
                text = codecs.getincrementaldecoder("utf-8")().decode(data, whole)
                value, end = _VALUE.raw_decode(text)
                if end < len(text) or whole:  # else it might go on
                    return value, at + len(text[:end].encode())
            except UnicodeDecodeError:
                raise Unfit("it is not UTF-8") from None
            except (ValueError, RecursionError) as error:
                if whole:
                    raise Unfit(f"no JSON at byte {at}: {error}") from None
            if size >= _LARGEST:
                raise Unfit(f"the value at byte {at} is larger than {_LARGEST >> 20} MiB")
            size *= 4

    def _expect(self, byte: bytes, at: int) -> int:
        """Where the next thing after `byte` is, which comes next."""
        at = self._skip(at)
        if not self._is(byte, at):
            raise Unfit(f"no JSON object in COCO's form: byte {at} is no {byte.decode()!r}")
        return self._skip(at + 1)

    def _is(self, byte: bytes, at: int) -> bool:
        return self._bytes(at, 1) == byte

    def _skip(self, at: int) -> int:
        """The first byte from `at` on that is no space."""
        size = 64
        while True:
            data = self._bytes(at, size)
            rest = data.lstrip(_SPACE)
            if rest or len(data) < size:
                return at + len(data) - len(rest)
            at += len(data)
            size = _LONGEST_SPACE

    def _bytes(self, at: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, at)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Inside, nobody looks for circles, of which records have none: that would take a seventh of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _piece(
    text: bytearray, decoder: msgspec.json.Decoder[list[Any]], cuts: list[re.Pattern[bytes]]
) -> tuple[list[Any], int, bool] | None:
    """The records at the beginning of `text`, behind its `[`, how many bytes they are, and whether the list ends behind
    them; None where more is needed to tell."""
    try:
        for cut in cuts:
            end = len(text)
            for _ in range(_TRIES):
                if not (end := _last_cut(text, end, cut)):
                    break
                try:
                    return _closed(text, decoder, end), end - 1, False
                except msgspec.ValidationError:
                    raise
                except msgspec.DecodeError as error:
                    if hint := _TRAILING.search(str(error)):
                        return _rest(text, decoder, int(hint[1]))
        try:
            return decoder.decode(text), text.rindex(b"]") - 1, True
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError as error:
            if hint := _TRAILING.search(str(error)):
                return _rest(text, decoder, int(hint[1]))
            return None
    except msgspec.MsgspecError as error:
        raise Unfit(str(error)) from None
    except RecursionError:
        raise Unfit("it is nested too deep") from None


def _closed(text: bytearray, decoder: msgspec.json.Decoder[list[Any]], end: int) -> list[Any]:
    """The records before byte `end` of `text`, where a `]` stands meanwhile: a copy would take longer."""
    replaced, text[end] = text[end], _CLOSE
    try:
        return decoder.decode(memoryview(text)[: end + 1])
    finally:
        text[end] = replaced


def _rest(text: bytearray, decoder: msgspec.json.Decoder[list[Any]], hint: int) -> tuple[list[Any], int, bool]:
    """The records of a list that ends in `text`. Something follows it, which is byte `hint`, counted from 1."""
    end = text.rindex(b"]", 0, hint - 1)
    return _closed(text, decoder, end), end - 1, True


def _check_text(piece: bytearray) -> None:
    try:
        piece.decode()
    except UnicodeDecodeError:
        raise Unfit("it is not UTF-8") from None


def _last_cut(text: bytearray, end: int, cut: re.Pattern[bytes]) -> int:
    """Where the last record ends that is followed by a `cut` before `end`; 0 where there is none."""
    while (end := text.rfind(b"}", 0, max(0, end - 1))) > 0:
        if cut.match(text, end):
            return end + 1
    return 0


def record(descriptor: int, place: int, length: int) -> bytes:
    """The text of a record, by where it begins and its length as `JsonFile.read` says it."""
    return os.pread(descriptor, length, place).rstrip(_SPACE + b",")
