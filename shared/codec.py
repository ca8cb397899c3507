"""Messages as bytes, and back: the gate that everything from another process comes through.

A message is msgpack ``[tag, field, field, ...]``. `decode` reads the tag off the first bytes and refuses an unknown
one, one that is out of place and a message above the limit of its type before it unpacks anything; then a wrong number
of fields, a wrong type, a number out of range and too deep a nesting. Nothing is ever unpickled.
"""

from __future__ import annotations

from dataclasses import fields
from typing import get_type_hints

import msgpack

from shared.messages import IDENTITY_BYTES, MAX_DEPTH, MAX_ITEMS, MAX_TEXT, Message, MessageError

_TYPES = {cls: {field.name: get_type_hints(cls)[field.name] for field in fields(cls)} for cls in Message.tags.values()}


def encode(message: Message) -> bytes:
    """The bytes of a message.

    Raises:
        MessageError: it holds something that is not plain data, or is larger than `MAX_MESSAGE_BYTES`.
    """
    cls = type(message)
    try:
        data = msgpack.packb([cls.__name__, *(getattr(message, name) for name in _TYPES[cls])])
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"{cls.__name__} holds something other than plain data: {error}") from None
    _check_size(cls, data)
    return data


def decode(data: bytes, *expected: type[Message]) -> Message:
    """The message in `data`, which must be one of `expected`.

    Raises:
        MessageError: it is not.
    """
    cls = Message.tags.get(_tag(data))
    if cls is None:
        raise MessageError("no message of this protocol")
    if cls not in expected:
        raise MessageError(f"{cls.__name__} is out of place here")
    _check_size(cls, data)
    try:
        parts = msgpack.unpackb(
            data,
            strict_map_key=False,
            max_str_len=MAX_TEXT,
            max_bin_len=MAX_TEXT,
            # An item takes a byte or more, so a longer container is a lie that must not be allocated.
            max_array_len=min(MAX_ITEMS, len(data)),
            max_map_len=min(MAX_ITEMS, len(data)),
            max_ext_len=0,
        )
    except Exception as error:
        raise MessageError(f"not msgpack within the limits: {type(error).__name__}") from None
    _, *values = parts
    if len(values) != len(_TYPES[cls]):
        raise MessageError(f"{cls.__name__} has {len(values)} fields, not {len(_TYPES[cls])}")
    for (name, kind), value in zip(_TYPES[cls].items(), values, strict=True):
        _check(cls, name, kind, value)
    return cls(*values)


def _tag(data: bytes) -> str:
    """The tag of a message, read off its first bytes: a short list that begins with a short text."""
    if len(data) < 2 or data[0] & 0xF0 != 0x90 or data[1] & 0xE0 != 0xA0:
        return ""
    return data[2 : 2 + (data[1] & 0x1F)].decode("ascii", "replace")


def _check_size(cls: type[Message], data: bytes) -> None:
    if len(data) > cls.limit:
        raise MessageError(f"{cls.__name__} has {len(data)} bytes, the limit is {cls.limit}")


def _check(cls: type[Message], name: str, kind: type, value: object) -> None:
    if type(value) is not kind:
        raise MessageError(f"{cls.__name__}.{name} is {type(value).__name__}, not {kind.__name__}")
    if kind is int and not 0 <= value < 2**64:
        raise MessageError(f"{cls.__name__}.{name} is out of range")
    if name == "identity" and len(value) != IDENTITY_BYTES:
        raise MessageError(f"{cls.__name__}.{name} has {len(value)} bytes, not {IDENTITY_BYTES}")
    if kind in (list, dict):
        _check_depth(f"{cls.__name__}.{name}", value, MAX_DEPTH)


def _check_depth(where: str, value: object, left: int) -> None:
    if left == 0:
        raise MessageError(f"{where} is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise MessageError(f"{where} has a key of type {type(key).__name__}")
            _check_depth(where, item, left - 1)
    elif isinstance(value, list):
        for item in value:
            _check_depth(where, item, left - 1)
