"""Which names a request means, and which rows they get."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import UserError
from trainer.tasks.serve.words import MOST_NAMES, Dictionary, UnknownNames, Words
from trainer.vocabulary.embeddings import NamedEmbeddings


def table(*names: str, seed: int = 0) -> NamedEmbeddings:
    return NamedEmbeddings(list(names), np.random.default_rng(seed).standard_normal((len(names), 4), np.float32))


FIRST, SECOND = table("Red star", "cat"), table("CAT", "traffic light", seed=1)
BOTH = Dictionary(("first", FIRST.names), {"second": SECOND}, [FIRST, SECOND], None)


def test_the_first_vocabulary_is_the_detectors_own_and_the_default() -> None:
    assert BOTH.vocabulary(None) == BOTH.vocabulary("first") == Words(("first",), None)
    assert BOTH.vocabulary("second") == Words(("second",), SECOND)
    with pytest.raises(UserError, match="there is no 'third'; there are 'first', 'second'"):
        BOTH.vocabulary("third")


def test_typed_names_keep_their_letters_and_get_the_first_row_that_is_theirs() -> None:
    words = BOTH.typed(["Cat", "traffic  LIGHT", "cat", "red star"])
    assert words.key == ("", "Cat", "traffic  LIGHT", "red star")
    assert words.embeddings.names == ["Cat", "traffic  LIGHT", "red star"]
    expected = [FIRST.embeddings[1], SECOND.embeddings[1], FIRST.embeddings[0]]
    np.testing.assert_array_equal(words.embeddings.embeddings, expected)


def test_names_without_a_row_come_back_with_those_that_are_written_alike_or_share_a_word() -> None:
    with pytest.raises(UnknownNames) as error:
        BOTH.typed(["cats", "light bulb", "cat", "xyz"])
    assert error.value.nearest == {"cats": ["cat"], "light bulb": ["traffic light"], "xyz": []}


def test_too_many_empty_and_long_names_are_refused() -> None:
    for names, says in (
        (["cat"] * (MOST_NAMES + 1), f"at most {MOST_NAMES}"),
        (["cat", "  "], "empty or longer"),
        (["x" * 101], "empty or longer"),
    ):
        with pytest.raises(UserError, match=says):
            BOTH.typed(names)


def test_a_detector_without_text_embeddings_takes_no_names() -> None:
    nameless = Dictionary(("object", ["object"]), {}, [], None)
    assert not nameless.takes_names and BOTH.takes_names
    with pytest.raises(UserError, match="ask without names"):
        nameless.typed(["cat"])
