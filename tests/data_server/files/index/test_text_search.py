"""Texts that are found in a column's bytes are those that are found text by text."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from data_server.files.index import text_search
from data_server.files.index.columns import Texts, narrowed

SOUGHT = ["".join(some) for length in (1, 2, 3, 4) for some in itertools.product("aé/.j", repeat=length)]


def column(texts: list[str]) -> Texts:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)])[1:]
    return Texts(narrowed(ends), np.frombuffer(b"".join(encoded), np.uint8))


def drawn(seed: int) -> list[str]:
    """Texts of so few letters that what is sought begins in one and ends in the next, and overlaps itself."""
    draw = random.Random(seed)
    return ["".join(draw.choices("aé/.j", k=draw.randint(0, 5))) for _ in range(draw.choice((0, 1, 30)))]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ending", ["", ".jj"])
def test_a_name_is_what_is_behind_the_last_slash_with_its_ending(seed: int, ending: str) -> None:
    texts = drawn(seed)
    names = [f"{text}{ending}".rpartition("/")[2] for text in texts]
    for sought in SOUGHT:
        found = text_search.in_names(column(texts), sought, ending)
        assert found.tolist() == [sought in name for name in names], sought


@pytest.mark.parametrize("seed", range(6))
def test_an_id_is_the_whole_text(seed: int) -> None:
    texts = drawn(seed)
    for sought in [*SOUGHT, ""]:
        assert text_search.equal(column(texts), sought).tolist() == [sought == text for text in texts], sought
