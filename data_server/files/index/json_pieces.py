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
import json
import os
import re
from collections.abc import Callable, Collection
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

_PIECE = 1 << 20
_LARGEST = 1 << 26  # a piece, that is a record; a value that is no list of records
_TRIES = 64
_LONGEST_SPACE = 1 << 16
_CUT = rb"\}\s*,\s*\{"
_FIRST_KEY = re.compile(rb'\{\s*("(?:[^"\\]|\\.)*")')
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
_SPACE = b" \t\n\r"
_BRACE = ord("{")

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
            data = self._bytes(at, size)
            if len(cuts) == 1 and (first := _FIRST_KEY.match(data)):
                # Records of one list begin with the same key; objects within them mostly with another.
                cuts.insert(0, re.compile(_CUT + rb"\s*" + re.escape(first[1]) + rb"\s*:"))
            piece = _piece(data, decoder, cuts)
            if piece is None:
                if len(data) < size or size >= _LARGEST:
                    raise Unfit(f"no end of a record is found after byte {at}")
                size *= 4
                continue
            records, end, is_last = piece
            if not data.isascii():
                _check_text(data[:end])  # the decoder does not look into texts that it skips
            take(records, *_places(data[:end], len(records), at))
            self._progress(at + end)
            if is_last:
                return self._expect(b"]", at + end)
            at = self._expect(b",", self._skip(at + end))
            size = _PIECE

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


def _piece(
    data: bytes, decoder: msgspec.json.Decoder[list[Any]], cuts: list[re.Pattern[bytes]]
) -> tuple[list[Any], int, bool] | None:
    """The records at the beginning of `data`, where the last of them ends, and whether the list ends behind it; None
    where more is needed to tell."""
    try:
        for cut in cuts:
            end = len(data)
            for _ in range(_TRIES):
                if not (end := _last_cut(data, end, cut)):
                    break
                try:
                    return decoder.decode(b"".join((b"[", memoryview(data)[:end], b"]"))), end, False
                except msgspec.ValidationError:
                    raise
                except msgspec.DecodeError as error:
                    if hint := _TRAILING.search(str(error)):
                        return _rest(data, decoder, int(hint[1]))
        try:
            return decoder.decode(b"[" + data), data.rindex(b"]"), True
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError as error:
            if hint := _TRAILING.search(str(error)):
                return _rest(data, decoder, int(hint[1]))
            return None
    except msgspec.MsgspecError as error:
        raise Unfit(str(error)) from None
    except RecursionError:
        raise Unfit("it is nested too deep") from None


def _rest(data: bytes, decoder: msgspec.json.Decoder[list[Any]], hint: int) -> tuple[list[Any], int, bool]:
    """The records of a list that ends in `data`. Something follows it, which is byte `hint`, counted from 1, of `[` and
    the list."""
    end = data.rindex(b"]", 0, hint - 2)
    return decoder.decode(b"[" + data[: end + 1]), end, True


def _check_text(piece: bytes) -> None:
    try:
        piece.decode()
    except UnicodeDecodeError:
        raise Unfit("it is not UTF-8") from None


def _last_cut(data: bytes, end: int, cut: re.Pattern[bytes]) -> int:
    """Where the last record ends that is followed by a `cut` before `end`; 0 where there is none."""
    while (end := data.rfind(b"}", 0, max(0, end - 1))) > 0:
        if cut.match(data, end):
            return end + 1
    return 0


def _places(piece: bytes, count: int, at: int) -> tuple[Places, Places]:
    """int64 (count,) where each record of `piece` begins in the file, whose byte `at` the piece begins with, and how
    long it is with what separates it from the next."""
    starts = np.flatnonzero(np.frombuffer(piece, np.uint8) == _BRACE)
    if len(starts) != count:  # each record has one at least; so here some have more, in texts or objects within
        found, end = [], 0
        for raw in _RAW.decode(b"[" + piece + b"]"):
            found.append(piece.index(b"{", end))
            end = found[-1] + memoryview(raw).nbytes
        starts = np.array(found, np.int64)
    return starts + at, np.diff(starts, append=len(piece))


def record(descriptor: int, place: int, length: int) -> bytes:
    """The text of a record, by where it begins and its length as `JsonFile.read` says it."""
    return os.pread(descriptor, length, place).rstrip(_SPACE + b",")
