"""The names beside a file of text embeddings: ``E.names.json`` says whose row is whose in ``E.npy``.

A JSON list of class names in row order. Every tool here that makes embeddings writes one; where it is there, the
trainer compares it with the classes of its data sets, so that rows in another order are found before anything is
trained.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from shared.errors import UserError


def names_file(embeddings: str | os.PathLike[str]) -> Path:
    """Where the names of the rows of an ``.npy`` file are."""
    return Path(embeddings).with_suffix(".names.json")


def compared(name: str) -> str:
    """What two names have in common that are the same but for case and the blanks between words."""
    return " ".join(name.casefold().split())


def write_names(embeddings: str | os.PathLike[str], names: list[str]) -> None:
    """Writes the names of the rows of `embeddings`. Raises OSError."""
    names_file(embeddings).write_text(json.dumps(names, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_names(embeddings: str | os.PathLike[str]) -> list[str] | None:
    """The names of the rows of `embeddings`; None where no file tells them.

    Raises:
        UserError: the file is no JSON list of names, or one of them is empty.
    """
    path = names_file(embeddings)
    if not path.exists():
        return None
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"names {str(path)!r}: {error}; expected a JSON list of class names") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"names {str(path)!r}: expected a JSON list of class names, in the order of the rows")
    for row, name in enumerate(names):
        if not name.strip():
            raise UserError(f"names {str(path)!r}: the name of row {row} (counted from 0) is empty")
    return names
