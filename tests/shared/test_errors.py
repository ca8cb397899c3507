"""Texts for users have a length that fits a message."""

from shared.errors import UserError, described


def test_a_text_is_cut_only_when_it_is_longer_than_a_message_takes() -> None:
    assert str(UserError("x" * 8000)) == "x" * 8000
    assert str(UserError("x" * 8001)) == "x" * 8000 + "..."


def test_somebody_elses_exception_is_one_line_of_its_type_and_text() -> None:
    assert described(KeyError("a\n  b")) == "KeyError: 'a\\n b'"
    assert described(ValueError("a\n  b\tc")) == "ValueError: a b c"
    assert described(ValueError("x" * 600)) == "ValueError: " + "x" * 600
    assert described(ValueError("x" * 601)) == "ValueError: " + "x" * 600 + "..."
