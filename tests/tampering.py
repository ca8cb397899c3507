"""Tampered variants of a user's files: what disks, downloads, other programs and people make of them.

    cut                    at every kind of place: within the head, its length, the body, one byte before the end
    lies                   lengths that are not those of what follows
    JSON                   every value in turn replaced by one of another type, lost, doubled, or a number out of range
    text                   no UTF-8, nested too deep, numbers of thousands of digits, a mark of another encoding

A reader of ours either gets a right file or raises a UserError in one line that names it (`assert_safe`).
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import UserError

VALUES = (
    *(None, True, -1, 0, 2**31, 2**63, 10**30, 0.5, -0.5, float("nan"), float("inf"), -float("inf"), 1e300),
    *("", "text", "12", "\ud800", [], {}, [[]], [None], {"a": 1}, ["text"], [1, 2, 3, 4, 5], [float("nan")] * 4),
)
NOT_JSON = {
    "empty": b"",
    "blank": b" \n",
    "null": b"null",
    "number": b"3",
    "text": b'"text"',
    "list": b"[]",
    "object": b"{}",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "deep lists": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and open": b"[" * 200_000,
    "digits": b'{"a": ' + b"7" * 10_000 + b"}",
    "web page": b"<!DOCTYPE html><html>not found",
    "zeros": bytes(1000),
}


def cuts(content: bytes) -> Iterator[tuple[str, bytes]]:
    for length in sorted({0, 1, 7, 8, 9, 15, 16, 40, len(content) // 2, len(content) - 8, len(content) - 1}):
        if 0 <= length < len(content):
            yield f"cut at {length}", content[:length]
    yield "longer", content + bytes(8)


def trees(tree: Any, values: tuple = VALUES) -> Iterator[tuple[str, Any]]:
    """Copies of plain data with one node wrong."""
    root = [tree]
    places: list[tuple[tuple, Any]] = [((0,), tree)]
    for path, value in places:  # grows while it is walked
        keys = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        places += [((*path, key), value[key]) for key in keys]
    for path, value in places:
        for wrong in values:
            if wrong is not value:
                yield (
                    f"{path[1:]} = {wrong!r:.40}",
                    _changed(root, path, lambda holder, key, new=wrong: _put(holder, key, new)),
                )
        if len(path) > 1:
            yield f"{path[1:]} lost", _changed(root, path, lambda holder, key: holder.pop(key))
            yield f"{path[1:]} doubled", _changed(root, path, _double)


def _changed(root: list, path: tuple, change: Callable[[Any, Any], Any]) -> Any:
    found = copy.deepcopy(root)
    holder: Any = found
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return found[0]


def _put(holder: Any, key: Any, value: Any) -> None:
    holder[key] = copy.deepcopy(value)


def _double(holder: Any, key: Any) -> None:
    if isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[f"{key} twice"] = copy.deepcopy(holder[key])


def json_files(tree: Any) -> Iterator[tuple[str, bytes]]:
    """Everything above, for a file of JSON."""
    yield from NOT_JSON.items()
    content = json.dumps(tree).encode()
    yield from cuts(content)
    yield from ((name, json.dumps(wrong).encode()) for name, wrong in trees(tree))
    if isinstance(tree, dict):
        for key in tree:
            yield f"{key} twice", content[:-1] + f", {json.dumps(key)}: {json.dumps(tree[key])}}}".encode()


def safetensors(header: dict[str, Any], numbers: bytes) -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + numbers


def safetensors_files(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Cuts, lies about lengths, and every value of the header and of the JSON inside its metadata wrong."""
    (length,) = struct.unpack("<Q", content[:8])
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    yield from cuts(content)
    for claim in (0, 1, length - 1, length + 1, len(content), 2**32, 2**63, 2**64 - 1):
        yield f"a header of {claim} bytes", struct.pack("<Q", claim) + content[8:]
    for name, text in NOT_JSON.items():
        yield f"header: {name}", struct.pack("<Q", len(text)) + text + numbers
    for name, wrong in trees(header):
        yield f"header {name}", safetensors(wrong, numbers)
    for key, text in header.get("__metadata__", {}).items():
        for name, bad in NOT_JSON.items():
            metadata = header["__metadata__"] | {key: bad.decode("latin-1")}
            yield f"metadata {key}: {name}", safetensors(header | {"__metadata__": metadata}, numbers)
        if text[:1] in "[{":
            for name, wrong in trees(json.loads(text)):
                metadata = header["__metadata__"] | {key: json.dumps(wrong)}
                yield f"metadata {key} {name}", safetensors(header | {"__metadata__": metadata}, numbers)


def npy(header: str, body: bytes, version: bytes = b"\x01\x00") -> bytes:
    encoded = header.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version[0] == 1 else "<I", len(encoded))
    return b"\x93NUMPY" + version + size + encoded + body


def npy_files(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Cuts, and heads that say something else than what follows; of float32."""
    yield from cuts(content)
    body = content[128:]
    shapes = ("()", "(1,)", "(-1, 4)", "(0, 4)", "(1 << 62, 4)", f"({2**62}, 4)", f"({2**31}, {2**33})", "(2.0, 4)")
    shapes += ("('2', 4)", "None", f"({'1,' * 40})", "(True, 8)", f"{'(' * 300}1,{')' * 300}")
    for shape in shapes:
        yield f"shape {shape[:40]}", npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}", body)
    for descr in (
        "'|O'",
        "'<f9'",
        "'<i4'",
        "'>f4'",
        "'<U4'",
        "'<c8'",
        "'|V4'",
        "'|b1'",
        "3",
        "[('a', '<f4')]",
        "'<f4, <f4'",
    ):
        yield f"dtype {descr}", npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': (2, 4), }}", body)
    for header in ("", "{}", "[]", "{'descr': '<f4'}", "__import__('os')", "{" * 5000, "{'shape': " + "9" * 9000 + "}"):
        yield f"header {header[:30]}", npy(header, body)
    yield "version 9", npy("{}", body, b"\x09\x00")
    yield "a header of 2^32 bytes", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + body
    yield "an archive", b"PK\x03\x04" + content
    yield "a pickle", b"\x80\x04cos\nmkdir\n."
    for number in (np.nan, np.inf, -np.inf):
        wrong = np.frombuffer(body, np.float32).copy()
        wrong[1] = number
        yield f"a number that is {number}", content[:128] + wrong.tobytes()


def assert_safe(
    path: Path, variants: Iterator[tuple[str, bytes]], read: Callable[[], Any], right: Callable[[Any], bool]
) -> int:
    """Reads every variant; returns how many were refused.

    Args:
        right: whether what a variant was read as can be used.
    """
    refused = 0
    for name, content in variants:
        path.write_bytes(content)
        try:
            found = read()
        except UserError as error:
            said = str(error)
            assert path.name in said and "\n" not in said and said.isprintable(), f"{name}: {said}"
            refused += 1
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
        else:
            assert right(found), f"{name}: read as {found!r:.300}"
    return refused
