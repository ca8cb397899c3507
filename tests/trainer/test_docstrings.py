"""Whatever of the trainer is public says what it does; whatever computes with arrays says their shapes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import trainer

# f32 (B,C,h,w), i32 (B·K,), (...), "scalar"; or where it stands.
SHAPE = re.compile(r"\((\.\.\.|[\w·+*/' -]+)(, ?[\w·+*/' -]+)*,?\)|scalar|[Ss]ee |as of ")
ARRAYS = re.compile(r"\b(Var|ndarray)\b")


def modules(within: str) -> list[ModuleType]:
    found = pkgutil.walk_packages(trainer.__path__, "trainer.")
    return [importlib.import_module(one.name) for one in found if re.fullmatch(within, one.name)]


def public(module: ModuleType) -> Iterator[tuple[str, Any, str | None]]:
    """(name, object, text) of a module's own public classes, functions and methods; a method that overrides one of
    a base class of ours may leave the text to the base class."""
    for name, item in vars(module).items():
        if name.startswith("_") or getattr(item, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(item):
            yield name, item, item.__doc__
            for inner, member in vars(item).items():
                function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                if not inner.startswith("_") and inspect.isfunction(function):
                    ours = [vars(base).get(inner) for base in item.__mro__ if base.__module__.startswith("trainer.")]
                    yield f"{name}.{inner}", function, next((one.__doc__ for one in ours if one and one.__doc__), None)
        elif inspect.isfunction(item):
            yield name, item, item.__doc__


@pytest.mark.parametrize("module", modules(r"trainer\.(models\..*|(?!__main__)\w+)"), ids=lambda one: one.__name__)
def test_what_is_public_says_what_it_does(module: ModuleType) -> None:
    assert module.__doc__ or not list(public(module)), "the module says nothing"
    silent = [name for name, _, text in public(module) if not text]
    assert not silent, silent


@pytest.mark.parametrize("module", modules(r"trainer\.models\..*"), ids=lambda one: one.__name__)
def test_functions_of_arrays_tell_their_shapes(module: ModuleType) -> None:
    silent = []
    for name, item, text in public(module):
        kinds = " ".join(map(str, getattr(item, "__annotations__", {}).values())) if inspect.isfunction(item) else ""
        if ARRAYS.search(kinds) and not SHAPE.search(text):
            silent.append(name)
    assert not silent, silent
