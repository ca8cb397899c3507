"""Vocabularies in files: text embeddings, and what their rows are called.

F.npy          (C,D)  a row of floats for each name, not normalised
F.names.json   [C]    the names, in the order of the rows
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.errors import UserError


def names_file(embeddings: str | os.PathLike) -> Path:
    """Where the names of the rows of an ``.npy`` file are."""
    return Path(embeddings).with_suffix(".names.json")


def read_embeddings(path: str | os.PathLike, where: str = "vocabulary") -> np.ndarray:
    """The rows of an ``.npy`` file, f32 (C,D).

    Args:
        where: what the file was given as, for messages.

    Raises:
        UserError: the file is missing, or holds something else than finite rows.
    """
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{where}: cannot read {str(path)!r} as a .npy file: {error}") from None
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype.kind != "f" or not np.isfinite(table).all():
        found = f"{table.dtype} {table.shape}" if isinstance(table, np.ndarray) else "an archive of arrays"
        raise UserError(f"{where}: {path} should hold one row of finite floats per class, found {found}")
    return table.astype(np.float32)


def read_names(embeddings: str | os.PathLike) -> list[str]:
    """The names of the rows of an ``.npy`` file, from the file beside it.

    Raises:
        UserError: there is none, or it is no list of names that are not empty.
    """
    path = names_file(embeddings)
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"names of {embeddings}: {path}: {error.strerror}; expected a JSON list of its rows' names there, which "
            "python -m data_server embed writes"
        ) from None
    except ValueError as error:
        raise UserError(f"names {path}: not valid JSON ({error}); expected a list of names") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"names {path}: expected a JSON list of names, in the order of the rows of {embeddings}")
    empty = [row for row, name in enumerate(names) if not name.strip()]
    if empty:
        raise UserError(f"names {path}: the name of row {empty[0]} (counted from 0) is empty")
    return names


def write_names(embeddings: str | os.PathLike, names: Sequence[str]) -> Path:
    """Writes the names of the rows of an ``.npy`` file beside it.

    Returns:
        the file written.

    Raises:
        UserError: there are more or fewer names than rows, one is empty, or the file cannot be written.
    """
    rows = len(read_embeddings(embeddings))
    if len(names) != rows:
        raise UserError(f"{embeddings} has {rows} rows, there are {len(names)} names; one for each row is expected")
    empty = [row for row, name in enumerate(names) if not name.strip()]
    if empty:
        raise UserError(f"the name of row {empty[0]} (counted from 0) of {embeddings} is empty; every row needs one")
    path = names_file(embeddings)
    try:
        path.write_text(json.dumps(list(names), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; make room, or permit writing") from error
    return path


def comparable(name: str) -> str:
    """A name in the form in which names are compared: case and the number of blanks between words do not count."""
    return " ".join(name.casefold().split())
