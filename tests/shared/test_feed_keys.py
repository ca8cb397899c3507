"""The keys of `feed`: one table, from which documents and help are made."""

from pathlib import Path

import pytest

from shared import feed_keys
from shared.errors import UserError
from shared.feed_keys import FEED_KEYS, FEED_NAMES, check_feed, help_text, markdown, with_defaults

ROOT = Path(feed_keys.__file__).parents[1]


def test_the_table_of_the_documents_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "serving.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith(("| `feed.", "| Key | Value |"))]
    assert lines == [line for line in markdown().splitlines() if "---" not in line]


def test_every_default_is_a_value_that_the_check_accepts() -> None:
    check_feed(with_defaults({}))


def test_a_wrong_value_is_told_by_its_key() -> None:
    with pytest.raises(UserError, match=r"^config key 'feed\.credits' is 0; expected 1 or more$"):
        check_feed(with_defaults({"credits": 0}))


def test_what_is_given_takes_the_place_of_a_default_and_no_key_is_left_out() -> None:
    assert with_defaults({"credits": 5})["credits"] == 5
    assert tuple(with_defaults({"credits": 5})) == FEED_NAMES


def test_the_help_says_of_each_key_what_it_is_in_which_unit_and_its_default() -> None:
    text = " ".join(help_text().split())
    assert "worker_memory what a worker may hold" in text and "(MiB; default: 1024)" in text
    assert "slots slots of shared memory, one batch each (default: workers + 3)" in text
    assert all(f" {key.name} " in text for key in FEED_KEYS)
    first, *lines = help_text().split("\n")
    assert first.startswith("keys of ") and all(line.startswith("  ") and len(line) <= 110 for line in lines)
