"""Frames made wrong on purpose: every kind of mistake and lie that a sender could make, drawn at random.

    tree  (what a message holds)  ──wrong value, node lost, doubled, swapped──► tree'  ──msgpack──► bytes
    bytes ──bit flipped, byte set, range cut, doubled or spliced in, length lied about──► bytes'

Wrong trees reach the checks behind the codec, wrong bytes the codec itself. A frame is at most `MAX_BYTES` long: what
plain data takes as Python objects, up to ninety times its bytes, then stays within the limit that `guard` sets.
"""

from __future__ import annotations

import copy
import random
import struct
from typing import Any

import msgpack

MAX_BYTES = 8192
_DEEP: list = []
for _ in range(30):
    _DEEP = [_DEEP]
_VALUES = (
    *(-1, 0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), True, None, 0.5, float("nan"), float("inf")),
    *("", "x" * 300, "\x00", "object", "uint8", "(tuple)", b"", b"\xff" * 17, [], {}, [[]], {1: 2}, {b"k": 1}),
    *({"(tuple)": 3}, {"(tuple)": {}}, {"(tuple)": [{"(tuple)": [1]}]}, _DEEP),
    *(msgpack.Timestamp(1), msgpack.ExtType(4, b"x")),
)
# Heads of msgpack items that claim far more than follows: arrays, maps, text, bytes, extensions; and the unused code.
_HEADS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4, 0xDA: 2, 0xDB: 4, 0xC5: 2, 0xC6: 4, 0xC9: 4, 0xC1: 0}
_LIES = tuple(
    bytes([code]) + length
    for code, size in _HEADS.items()
    for length in (b"\xff" * size, b"\x00\x01\x00\x00"[4 - size :])
)
_NUMBERS = tuple(
    struct.pack(form, value)
    for form, values in (("<I", (0, 2**22, 2**22 + 1, 2**32 - 1)), ("<Q", (0, 2**40, 2**63, 2**64 - 1)))
    for value in values
)


def wrong_tree(chance: random.Random, tree: Any) -> Any:
    """A copy of `tree`, plain data, with one node lost, doubled, swapped or replaced."""
    root = [copy.deepcopy(tree)]
    places: list[tuple[Any, Any]] = [(root, 0)]
    for holder, key in places:  # grows while it is walked
        value = holder[key]
        if isinstance(value, list | dict):
            places += [(value, inner) for inner in (range(len(value)) if isinstance(value, list) else value)]
    holder, key = chance.choice(places)
    match chance.randrange(6):
        case 0 if holder is not root:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 2:
            other, inner = chance.choice(places)
            holder[key] = copy.deepcopy(other[inner])
        case 3 if isinstance(holder, dict):
            holder[chance.choice(("", "type", 7, "(tuple)"))] = holder.pop(key)
        case _:
            holder[key] = chance.choice(_VALUES)
    return root[0] if root else None


def wrong_bytes(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """`data` with one to four mistakes; `other` is a second frame to splice from."""
    wrong = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(wrong))
        end = min(len(wrong), start + chance.randint(0, 12))
        match chance.randrange(9):
            case 0 | 1 if wrong:
                wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
            case 2 if wrong:
                wrong[chance.randrange(len(wrong))] = chance.choice((0x00, 0x7F, 0x80, 0x90, 0xC0, 0xD0, 0xFF))
            case 3:
                del wrong[start:end]
            case 4:
                wrong[start:start] = wrong[start:end] * chance.randint(1, 20)
            case 5:
                del wrong[start:]
            case 6:
                cut = chance.randint(0, len(other))
                wrong[start:] = other[cut:]
            case 7:
                lie = chance.choice(_LIES)
                wrong[start : start + len(lie)] = lie * chance.choice((1, 1, 1, 100))
            case _:
                number = chance.choice(_NUMBERS)
                wrong[start : start + len(number)] = number
    return bytes(wrong[:MAX_BYTES])
