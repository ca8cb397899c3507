"""Imports into the trainer of what may bring torch along, which this process must not have."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Nothing that is imported in here imports torch. One that is loaded already stays in sight of the wall between the
    frameworks (`trainer.device`)."""
    loaded = {name: module for name, module in sys.modules.items() if name == "torch"}
    sys.modules["torch"] = None  # type: ignore[assignment]  # how Python is told to refuse an import
    try:
        yield
    finally:
        del sys.modules["torch"]
        sys.modules.update(loaded)
