"""JSON of users' files: read, or refused with a ValueError."""

import sys

import pytest

from shared.json_text import parse


@pytest.mark.parametrize(
    "text", ['{"ä": [1, 2.5, null]}', '{"ä": [1, 2.5, null]}'.encode(), b'\xef\xbb\xbf{"\xc3\xa4": [1, 2.5, null]}']
)
@pytest.mark.parametrize("unique", [False, True])
def test_texts_and_utf_8_with_or_without_a_mark_are_read(text: str | bytes, unique: bool) -> None:
    assert parse(text, unique=unique) == {"ä": [1, 2.5, None]}


@pytest.mark.parametrize(
    "text", ["", "{", b"\xff\xfe[\x00]\x00", "[1]]", "7" * 5000, "[" * 10 * sys.getrecursionlimit()]
)
def test_anything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_deep_nesting_is_said_so() -> None:
    with pytest.raises(ValueError, match=r"^it is nested too deep$"):
        parse("[" * 10 * sys.getrecursionlimit())


def test_a_key_that_stands_twice_in_one_object_is_named_where_that_matters() -> None:
    text = '[{"a": 1, "b": {"b": 1}}, {"a": 1, "c": 2, "c": 3}]'
    assert parse(text)[1] == {"a": 1, "c": 3}
    with pytest.raises(ValueError, match=r"^the key 'c' stands there twice$"):
        parse(text, unique=True)
