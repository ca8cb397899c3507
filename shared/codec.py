"""Messages as bytes, and back: the gate that everything from another process comes through.

A message is msgpack ``[tag, field, field, ...]``. `decode` reads the tag off the first bytes and refuses an unknown
one, one that is out of place and a message above the limit of its type before it unpacks anything; then a wrong number
of fields, a wrong type, a number out of range and too deep a nesting. Nothing is ever unpickled.

Two messages per batch pass through here while a trainer waits, so what is known about a type is looked up, not
computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, TypeVar, get_type_hints, overload

import msgpack

from shared.messages import IDENTITY_BYTES, MAX_DEPTH, MAX_ITEMS, MAX_TEXT, Message, MessageError

M = TypeVar("M", bound=Message)
N = TypeVar("N", bound=Message)
P = TypeVar("P", bound=Message)


@dataclass(frozen=True)
class _Form:
    """What a message of one type looks like once it is unpacked: its tag, then its fields; `places` counts from the
    tag."""

    names: list[str]
    kinds: list[type]
    values: Callable[[Message], tuple[Any, ...]]
    numbers: list[int]
    containers: list[int]
    identities: list[int]

    @classmethod
    def of(cls, message: type[Message]) -> _Form:
        hints = get_type_hints(message)
        names = ["tag", *(field.name for field in fields(message))]
        kinds = [str, *(hints[name] for name in names[1:])]

        def places(*wanted: type) -> list[int]:
            return [place for place, kind in enumerate(kinds) if kind in wanted]

        identities = [place for place, name in enumerate(names) if name == "identity"]
        return cls(names, kinds, _getter(names[1:]), places(int), places(list, dict), identities)


def _getter(names: list[str]) -> Callable[[Message], tuple[Any, ...]]:
    """Reads these fields of a message; `attrgetter` alone gives a tuple only for two or more."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda message: tuple(getattr(message, name) for name in names)


_FORMS = {message: _Form.of(message) for message in Message.tags.values()}


def encode(message: Message) -> bytes:
    """The bytes of a message.

    Raises:
        MessageError: it holds something that is not plain data, or is larger than `MAX_MESSAGE_BYTES`.
    """
    cls = type(message)
    try:
        data: bytes = msgpack.packb([cls.__name__, *_FORMS[cls].values(message)])
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"{cls.__name__} holds something other than plain data: {error}") from None
    _check_size(cls, data)
    return data


@overload
def decode(data: bytes, one: type[M], /) -> M: ...


@overload
def decode(data: bytes, one: type[M], another: type[N], /) -> M | N: ...


@overload
def decode(data: bytes, one: type[M], another: type[N], third: type[P], /) -> M | N | P: ...


@overload
def decode(data: bytes, *expected: type[M]) -> M: ...


def decode(data: bytes, *expected: type[M]) -> M:
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
    _check_fields(cls, _FORMS[cls], parts)
    return cls(*parts[1:])


def _tag(data: bytes) -> str:
    """The tag of a message, read off its first bytes: a short list that begins with a short text."""
    if len(data) < 2 or data[0] & 0xF0 != 0x90 or data[1] & 0xE0 != 0xA0:
        return ""
    return data[2 : 2 + (data[1] & 0x1F)].decode("ascii", "replace")


def _check_size(cls: type[Message], data: bytes) -> None:
    if len(data) > cls.limit:
        raise MessageError(f"{cls.__name__} has {len(data)} bytes, the limit is {cls.limit}")


def _check_fields(cls: type[Message], form: _Form, parts: list[Any]) -> None:
    if len(parts) != len(form.kinds):
        raise MessageError(f"{cls.__name__} has {len(parts) - 1} fields, not {len(form.kinds) - 1}")
    if list(map(type, parts)) != form.kinds:
        for name, kind, part in zip(form.names, form.kinds, parts, strict=True):
            if type(part) is not kind:
                raise MessageError(f"{cls.__name__}.{name} is {type(part).__name__}, not {kind.__name__}")
    for place in form.numbers:
        if parts[place] < 0:  # msgpack has none above 2**64 - 1
            raise MessageError(f"{cls.__name__}.{form.names[place]} is out of range")
    for place in form.identities:
        if len(parts[place]) != IDENTITY_BYTES:
            raise MessageError(f"{cls.__name__}.identity has {len(parts[place])} bytes, not {IDENTITY_BYTES}")
    for place in form.containers:
        _check_depth(f"{cls.__name__}.{form.names[place]}", parts[place], MAX_DEPTH)


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
