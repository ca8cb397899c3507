"""Vocabularies in files: text embeddings, and what their rows are called.

    F.npy          (C,D)  a row of floats for each name, not normalised
    F.names.json   [C]    the names, in the order of the rows

Names are compared without regard to case and to how many blanks are between words. An open-vocabulary detector can be
given any of these, or single rows of them, in place of the vocabulary that it was trained with.
"""

from __future__ import annotations

import copy
import os
import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.config import box_head
from shared.embeddings import compared, names_file, read_embeddings, read_names
from shared.errors import UserError
from shared.keys import nearest

_SHOWN = 10


@dataclass(frozen=True)
class NamedEmbeddings:
    """C names with an embedding each.

    Attributes:
        names: C names, no two alike.
        embeddings: f32 (C,D).
    """

    names: list[str]
    embeddings: np.ndarray


def names_of(embeddings: str | os.PathLike) -> list[str]:
    """The names of the rows of an ``.npy`` file, from the file beside it.

    Raises:
        UserError: there is none, or it is no list of names that are not empty.
    """
    names = read_names(embeddings)
    if names is None:
        raise UserError(
            f"names of {embeddings}: {names_file(embeddings)}: no such file; expected a JSON list of its rows' names "
            "there, which python -m data_server embed writes, or python -m data_server names for rows made before"
        )
    return names


def load(path: str | os.PathLike) -> NamedEmbeddings:
    """An ``.npy`` file with the names beside it.

    A name that stands there twice with the same row counts once (two of UniDetector's names for OpenImages do).

    Raises:
        UserError: one of the files is missing or malformed, they do not have as many names as rows, or a name stands
            there with two different rows.
    """
    rows, names = read_embeddings(path, "vocabulary"), names_of(path)
    if len(names) != len(rows):
        raise UserError(f"vocabulary {path}: {len(rows)} rows, but {len(names)} names in {names_file(path)}")
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        earlier = first.setdefault(compared(name), row)
        if not np.array_equal(rows[earlier], rows[row]):
            raise UserError(
                f"vocabulary {path}: {name!r} names row {earlier} and row {row} (counted from 0), which differ; "
                f"correct {names_file(path)}"
            )
    kept = list(first.values())
    return NamedEmbeddings([names[row] for row in kept], rows[kept])


def choose(
    items: str | os.PathLike | Iterable[str | os.PathLike], tables: Iterable[str | os.PathLike] = ()
) -> NamedEmbeddings:
    """A vocabulary from whole files and from single names, in the order given.

    Args:
        items: what ends in ``.npy`` stands for all names of that file, anything else is a name. Of a name that comes
            again only the first counts.
        tables: the ``.npy`` files in which the single names are looked up; the first that has one provides its row.

    Raises:
        UserError: see `load`; a name that no table has, an empty one, or files whose rows differ in length.
    """
    items = [items] if isinstance(items, str | os.PathLike) else list(items)
    known = [load(path) for path in tables]
    parts = [load(item) if _is_file(item) else None for item in items]
    wanted = [str(item) for item, part in zip(items, parts, strict=True) if part is None]
    looked_up = iter(_rows_of(wanted, known, list(tables)))
    found: dict[str, tuple[str, np.ndarray]] = {}
    for part in parts:
        pairs = [next(looked_up)] if part is None else zip(part.names, part.embeddings, strict=True)
        for name, row in pairs:
            found.setdefault(compared(name), (name, row))
    if not found:
        raise UserError("vocabulary: it is empty; name at least one class")
    names, rows = zip(*found.values(), strict=True)
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise UserError(f"vocabulary: rows of different lengths, {lengths}; they are from different text towers")
    return NamedEmbeddings(list(names), np.stack(rows))


def _rows_of(
    names: Sequence[str], tables: Sequence[NamedEmbeddings], paths: Sequence[str | os.PathLike]
) -> list[tuple[str, np.ndarray]]:
    rows: dict[str, np.ndarray] = {}
    for table in tables:
        for name, row in zip(table.names, table.embeddings, strict=True):
            rows.setdefault(compared(name), row)
    if any(not compared(name) for name in names):
        raise UserError("vocabulary: an empty name; every class needs one")
    if names and not tables:
        raise UserError(
            f"vocabulary: there are no text embeddings in which {_listed(names)} could be looked up; give a file with "
            "--embeddings F.npy (python -m data_server embed makes one)"
        )
    missing = [name for name in names if compared(name) not in rows]
    if missing:
        shown = ", ".join(f"{name!r}{nearest(compared(name), list(rows))}" for name in missing[:_SHOWN])
        listed = next((name for name in missing if _is_list(name, rows)), None)
        if listed is not None:
            raise UserError(
                f"vocabulary: no text embedding of {listed!r}, but of the names in it; give them one by one: "
                f"{' '.join(shlex.quote(one.strip()) for one in listed.split(',') if one.strip())}"
            )
        raise UserError(
            f"vocabulary: no text embedding of {shown}{_more(missing)} in {', '.join(map(str, paths))}; "
            "to make one, put the names into a text file, one a line, and run: "
            "python -m data_server embed --names-file names.txt --clip RN50.pt --out mine.npy"
        )
    return [(name, rows[compared(name)]) for name in names]


def _is_list(name: str, known: Collection[str]) -> bool:
    """Whether `name` is several known names with commas between."""
    return "," in name and all(compared(one) in known for one in name.split(",") if one.strip())


def fitted(model: dict[str, Any], vocabulary: NamedEmbeddings) -> dict[str, Any]:
    """A config's `model` with another vocabulary for its box head; a head of several vocabularies gets this one alone.

    Raises:
        UserError: the model's box head tells no classes apart.
    """
    model = copy.deepcopy(model)
    head = box_head(model)
    if not head:
        return model  # who builds it says what is missing
    if "zeroshot_path" not in head:
        raise UserError(
            f"vocabulary: the box head of this model ({head.get('type')}) finds objects of any class and names none; "
            "give no vocabulary, or use a stage 2 or an end-to-end config"
        )
    if head["type"] == "BBoxHeadCLIPPartitioned":
        head["type"] = "BBoxHeadCLIP"
        head.pop("test_vocabulary", None)
    head.pop("cat_freq_path", None)
    head["zeroshot_path"], head["num_classes"] = vocabulary.embeddings, len(vocabulary.names)
    return model


def of_config(model: dict[str, Any], classes: Sequence[str] = ()) -> list[str]:
    """The names that a config's `model` tells apart.

    Args:
        classes: what the data set calls them, where nothing is beside the embeddings.

    Raises:
        UserError: the names are nowhere, or there are more or fewer than classes.
    """
    path = file_of_config(model)
    if path is None:
        return ["object"]
    rows = len(read_embeddings(path, "model.roi_head.bbox_head.zeroshot_path"))
    names = list(classes) if not os.path.exists(names_file(path)) and len(classes) == rows else names_of(path)
    if len(names) != rows:
        raise UserError(f"vocabulary {path}: {rows} rows, but {len(names)} names in {names_file(path)}")
    return names


def file_of_config(model: dict[str, Any]) -> str | None:
    """The embeddings of the names that a config's `model` tells apart; None where it names nothing."""
    head = box_head(model)
    path = head.get("zeroshot_path")
    return path if path is None or isinstance(path, str) else path[head.get("test_vocabulary", 0)]


def tables_of_config(model: dict[str, Any]) -> list[str]:
    """The files of a config's `model` that names can be looked up in: those with names beside them."""
    paths = box_head(model).get("zeroshot_path", [])
    return [path for path in ([paths] if isinstance(paths, str) else paths) if os.path.exists(names_file(path))]


def _is_file(item: str | os.PathLike) -> bool:
    return isinstance(item, os.PathLike) or item.endswith(".npy")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + _more(names)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
