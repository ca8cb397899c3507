"""A class of the user's own that a config names as ``module.Class``: found without torch, and made.

What goes wrong in the user's file is told in one line, with the file's name and the line in it.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from shared.errors import UserError, described
from shared.without import without


def find(where: str, name: str, base: type) -> type:
    """The class that the config names at `where`.

    Raises:
        UserError: its module cannot be imported, also because it imports torch; it is not in there, or is not derived
            from `base`.
    """
    module, _, kind = name.rpartition(".")
    try:
        with without("torch"):
            found = getattr(importlib.import_module(module), kind)
    except Exception as error:
        raise UserError(
            f"config key '{where}.type' is {name!r}, which cannot be imported: {_told(error, _imported(error))}; "
            "expected 'module.Class' of a module that Python finds and that imports no torch"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(
            f"config key '{where}.type' is {name!r}; expected a class derived from {base.__module__}.{base.__name__}"
        )
    return found


def make(where: str, cls: type, keywords: Mapping[str, Any]) -> Any:
    """Calls the constructor.

    Raises:
        UserError: it raises.
    """
    try:
        return cls(**keywords)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"config key '{where}': {title(cls)} cannot be made: {told(error, cls)}") from error


def title(cls: type) -> str:
    """``module.Class``."""
    return f"{cls.__module__}.{cls.__name__}"


def told(error: BaseException, cls: type) -> str:
    """In one line what a class's code has raised, and the last line of its file on the way there."""
    return _told(error, getattr(sys.modules[cls.__module__], "__file__", None))


def _told(error: BaseException, file: str | None) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file} line {lines[-1]}: {described(error)}" if lines else described(error)


def _imported(error: BaseException) -> str | None:
    """The file whose import has failed; None where none was found, or Python could not read it, which it says."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.filename for frame in frames if frame.name == "<module>"), None)
