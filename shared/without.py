"""Imports of what may bring along a framework that this process must not have."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Nothing that is imported in here imports these modules. Those that are loaded already stay in sight of the wall
    between the frameworks (`trainer.device`)."""
    loaded = {name: sys.modules[name] for name in names if name in sys.modules}
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python is told to refuse an import
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(loaded)
