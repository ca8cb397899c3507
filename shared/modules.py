"""Modules that are found by being there: a new file in a package's folder is one more of its kind.

A module's summary is read from its text, so that listing modules imports none of them: many would import torch or
Jittor.
"""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import re
from importlib.abc import SourceLoader
from types import ModuleType

_END = re.compile(r"\.(?=$|\s+[A-Z`])|[:;](?=\s)")  # of a sentence, or of what it says first


def names(package: ModuleType) -> list[str]:
    """The modules of a package, by name."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def summary(package: ModuleType, name: str) -> str:
    """The first sentence of a module's docstring, on one line; the module is not imported."""
    full_name = f"{package.__name__}.{name}"
    found = importlib.util.find_spec(full_name)
    source = found.loader.get_source(full_name) if found and isinstance(found.loader, SourceLoader) else None
    paragraph = (ast.get_docstring(ast.parse(source or "")) or "").partition("\n\n")[0]
    return _END.split(" ".join(paragraph.split()), maxsplit=1)[0]
