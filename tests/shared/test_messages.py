import dataclasses
import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.codec import decode, encode
from shared.messages import (
    IDENTITY_BYTES,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_MESSAGE_BYTES,
    MAX_SMALL_BYTES,
    MAX_TEXT,
    Evaluate,
    Failure,
    Hail,
    Hello,
    Message,
    MessageError,
    Notice,
    Predictions,
    Release,
)

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_subnormal=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KINDS = {
    "int": st.integers(0, 2**64 - 1),
    "str": st.text(max_size=20),
    "bool": st.booleans(),
    "bytes": st.binary(min_size=IDENTITY_BYTES, max_size=IDENTITY_BYTES),
    "list": st.lists(PLAIN, max_size=3),
    "dict": st.dictionaries(st.text(max_size=5), PLAIN, max_size=3),
}
EXAMPLES = {"int": 3, "str": "train", "bool": True, "bytes": b"0123456789abcdef", "list": [[1, 2]], "dict": {"a": [1]}}
MESSAGES = sorted(Message.tags.values(), key=lambda cls: cls.__name__)


def example(cls):
    return cls(*(EXAMPLES[field.type] for field in dataclasses.fields(cls)))


def wire(cls, *values):
    return msgpack.packb([cls.__name__, *values])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_message_comes_back_as_it_was_sent(data):
    cls = data.draw(st.sampled_from(MESSAGES))
    message = cls(*(data.draw(KINDS[field.type]) for field in dataclasses.fields(cls)))
    assert decode(encode(message), cls) == message


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_each_field_of_another_type_is_refused(cls):
    for field in dataclasses.fields(cls):
        for kind, value in EXAMPLES.items():
            if kind != field.type:
                message = dataclasses.replace(example(cls), **{field.name: value})
                with pytest.raises(MessageError, match=f"{cls.__name__}.{field.name} is {kind}, not {field.type}"):
                    decode(encode(message), cls)


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_too_few_or_too_many_fields_are_refused(cls):
    values = [EXAMPLES[field.type] for field in dataclasses.fields(cls)]
    with pytest.raises(MessageError, match=f"has {len(values) + 1} fields, not {len(values)}"):
        decode(wire(cls, *values, 1), cls)
    if values:
        with pytest.raises(MessageError, match=f"has {len(values) - 1} fields"):
            decode(wire(cls, *values[:-1]), cls)


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_a_message_out_of_place_is_refused(cls):
    others = [other for other in MESSAGES if other is not cls]
    with pytest.raises(MessageError, match=f"{cls.__name__} is out of place here"):
        decode(encode(example(cls)), *others)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"not msgpack",
        msgpack.packb([]),
        msgpack.packb({"Release": 1}),
        msgpack.packb("Release"),
        msgpack.packb([1, 2, 3]),
        msgpack.packb([b"Release", 1, 2]),
        msgpack.packb(["Relase", 1, 2]),
        msgpack.packb(["Release", 1, 2]) + b"\x00",
        msgpack.packb(["Release", 1, 2])[:-1],
        msgpack.packb(["Release", 1, msgpack.Timestamp(1)]),
        msgpack.packb(["Release", 1, msgpack.ExtType(4, b"x")]),
    ],
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(MessageError):
        decode(data, *MESSAGES)


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_random_bytes_are_refused_and_raise_nothing_else(data):
    with pytest.raises(MessageError):
        decode(data, *MESSAGES)


@pytest.mark.parametrize("value", [-1, -(2**63)])
def test_a_negative_number_is_refused(value):
    with pytest.raises(MessageError, match=r"Release.slot is out of range"):
        decode(wire(Release, value, 1), Release)


@pytest.mark.parametrize("size", [0, IDENTITY_BYTES - 1, IDENTITY_BYTES + 1])
def test_an_identity_of_another_length_is_refused(size):
    with pytest.raises(MessageError, match=f"has {size} bytes"):
        decode(encode(Hail(1, b"x" * size)), Hail)


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_too_deep_a_nesting_is_refused():
    assert decode(encode(Evaluate(nested(MAX_DEPTH))), Evaluate)
    with pytest.raises(MessageError, match="nested deeper"):
        decode(encode(Evaluate(nested(MAX_DEPTH + 1))), Evaluate)
    with pytest.raises(MessageError):
        decode(b"\x92\xa8Evaluate" + b"\x91" * 100_000 + b"\xc0", Evaluate)


def test_keys_that_are_neither_text_nor_numbers_are_refused():
    hello = {**dataclasses.asdict(example(Hello)), "config": {b"key": 1}}
    with pytest.raises(MessageError, match="key of type bytes"):
        decode(wire(Hello, *hello.values()), Hello)


def test_a_message_above_the_limits_is_neither_sent_nor_taken():
    with pytest.raises(MessageError, match="the limit is"):
        encode(Evaluate(["x" * MAX_TEXT] * (MAX_MESSAGE_BYTES // MAX_TEXT + 1)))
    with pytest.raises(MessageError, match=r"Evaluate has .* the limit is"):
        decode(wire(Evaluate, []) + bytes(MAX_MESSAGE_BYTES), Evaluate)
    with pytest.raises(MessageError, match=r"Notice has .* the limit is 65536"):
        decode(wire(Notice, "x" * (1 << 16)), Notice)
    for value in (["x" * (MAX_TEXT + 1)], [b"x" * (MAX_TEXT + 1)], [None] * (MAX_ITEMS + 1)):
        with pytest.raises(MessageError, match="within the limits"):
            decode(wire(Evaluate, value), Evaluate)


def test_a_message_of_exactly_the_limit_is_sent_and_taken():
    room = MAX_SMALL_BYTES - len(encode(Predictions(bytes(1 << 8)))) + (1 << 8)
    data = encode(Predictions(bytes(room)))
    assert len(data) == MAX_SMALL_BYTES and decode(data, Predictions) == Predictions(bytes(room))
    with pytest.raises(MessageError, match="Predictions has 65537 bytes, the limit is 65536"):
        encode(Predictions(bytes(room + 1)))


def test_what_begins_with_no_known_tag_is_refused_before_it_is_unpacked():
    nested = b"\x91" * 100_000
    for data in (b"", b"\x91", b"\xdc\x00\x02\xa6Notice\xa1x", b"\x92\xa6Notyce\xa1x", nested, bytes(1 << 20)):
        with pytest.raises(MessageError, match="no message of this protocol"):
            decode(data, Notice)


def test_containers_that_claim_more_items_than_they_have_bytes_are_refused_before_they_are_allocated():
    claims = b"\xdd\x00\x01\x00\x00" * 200  # a list of 65536 items, the first of which is a list of 65536 items ...
    tracemalloc.start()
    with pytest.raises(MessageError, match="within the limits"):
        decode(b"\x92\xa8Evaluate" + claims, Evaluate)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_what_is_no_plain_data_is_not_sent():
    for value in (object(), {1, 2}, 2**70):
        with pytest.raises(MessageError, match="Evaluate holds something other than plain data"):
            encode(Evaluate([value]))


def test_the_first_word_on_a_lifeline_keeps_its_form_for_all_versions():
    assert encode(Hail(1, b"0123456789abcdef")) == b"\x93\xa4Hail\x01\xc4\x100123456789abcdef"
    assert encode(Failure("no", True)) == b"\x93\xa7Failure\xa2no\xc3"
