"""Text embeddings in files: what a config's ``zeroshot_path`` names.

    E.npy          (C,D)  a row of floats for each class name, not normalised, in the order that `shared.coco` states
    E.names.json   [C]    the names, in the order of the rows (optional)

Every tool here that makes embeddings writes both; where the names are there, the trainer compares them with the classes
of its data sets, so that rows in another order are found before anything is trained.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared import json_text, npy
from shared.errors import UserError
from shared.files import replace, whole

# What to do about rows in another order than the labels'.
IN_ORDER = (
    "labels follow the list of categories in the annotation file, and rows should, too; python -m data_server embed "
    "--annotations A.json --rows-of E.npy --out NEW.npy puts rows into that order (in place of --annotations, where "
    "metainfo.classes names some or the data set sorts them: --names-file C.txt, with the classes by label)"
)


def read_embeddings(path: str | os.PathLike[str], where: str = "text embeddings") -> npt.NDArray[np.float32]:
    """The rows of an ``.npy`` file, f32 (C,D).

    Args:
        where: what the file was given as, for messages.

    Raises:
        UserError: the file is missing, or holds something else than finite rows.
    """
    table = npy.read(path, where)
    if table.ndim != 2 or table.dtype.kind != "f" or not table.size:
        found = f"{table.dtype} {table.shape}"
        raise UserError(f"{where}: {path} should hold one row of finite floats per class, found {found}")
    with np.errstate(over="ignore"):  # what float32 has no room for becomes infinite
        rows = table.astype(np.float32)
    if not np.isfinite(rows).all():
        row = int(np.argmin(np.isfinite(rows).all(1)))
        raise UserError(
            f"{where}: {path} should hold one row of finite floats per class, found {table.dtype} {table.shape} with "
            f"others in row {row} (counted from 0)"
        )
    return rows


def write_embeddings(path: Path, table: npt.NDArray[np.floating[Any]], names: list[str]) -> None:
    """Writes rows and the names beside them, each file whole or not at all. Raises OSError."""
    names_file(path).unlink(missing_ok=True)  # a kill leaves rows without names rather than with another file's
    with whole(path) as file:
        np.save(file, table)
    write_names(path, names)


def names_file(embeddings: str | os.PathLike[str]) -> Path:
    """Where the names of the rows of an ``.npy`` file are."""
    return Path(embeddings).with_suffix(".names.json")


def compared(name: str) -> str:
    """The form of a name that is compared: without regard to case and to the blanks between words."""
    return " ".join(name.casefold().split())


def write_names(embeddings: str | os.PathLike[str], names: list[str]) -> None:
    """Writes the names of the rows of `embeddings`. Raises OSError."""
    replace(names_file(embeddings), (json.dumps(names, indent=1, ensure_ascii=False) + "\n").encode())


def read_names(embeddings: str | os.PathLike[str]) -> list[str] | None:
    """The names of the rows of `embeddings`; None where there is no file of them.

    Raises:
        UserError: the file is no JSON list of names, or one of them is empty.
    """
    path = names_file(embeddings)
    if not os.path.exists(path):
        return None
    try:
        names = json_text.parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"names {str(path)!r}: {error}; expected a JSON list of class names") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"names {str(path)!r}: expected a JSON list of class names, in the order of the rows")
    for row, name in enumerate(names):
        if not name.strip():
            raise UserError(f"names {str(path)!r}: the name of row {row} (counted from 0) is empty")
    return names
