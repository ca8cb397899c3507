"""Imports that are refused for a while."""

from __future__ import annotations

import importlib
import sys

import pytest

from shared.without import without


def test_what_is_refused_cannot_be_imported_and_is_afterwards_what_it_was() -> None:
    import json

    with without("json", "nothing_of_this_name"):
        for name in ("json", "nothing_of_this_name"):
            with pytest.raises(ImportError) as caught:
                importlib.import_module(name)
            assert caught.value.name == name
    assert sys.modules["json"] is json and "nothing_of_this_name" not in sys.modules


def test_an_import_that_fails_leaves_nothing_refused() -> None:
    with pytest.raises(ZeroDivisionError), without("nothing_of_this_name"):
        1 / 0  # noqa: B018
    assert "nothing_of_this_name" not in sys.modules
