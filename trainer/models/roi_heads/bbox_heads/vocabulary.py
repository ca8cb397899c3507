"""A vocabulary: what a CLIP box head knows about the classes that it distinguishes.

zeroshot_path   .npy (C,D)   the text embedding of each class, by label (`shared.coco`), not normalised
                .names.json  beside it: the classes' names in the order of the rows (optional, see `shared.embeddings`)
cat_freq_path   .json        the same categories with their `image_count` in the training set (optional)
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from shared import category_counts
from shared.embeddings import IN_ORDER, names_file, read_embeddings, read_names
from shared.errors import UserError


@dataclass
class Vocabulary:
    """C classes.

    Attributes:
        embeddings: f32 (C,D).
        drawable: f32 (C,), 1 for classes that the federated loss may draw: those that have training images.
        path: of the embeddings.
        names: of the classes, None where there is no file of them.
    """

    embeddings: np.ndarray
    drawable: np.ndarray
    path: str
    names: list[str] | None

    def check(self, classes: list[str], whose: str) -> None:
        """Compares the rows with the `classes` of a data set, by label.

        Raises:
            UserError: their number, names or order differ; names the first difference.
        """
        rows = len(self.embeddings)
        names = self.names or []
        differs = next((i for i, pair in enumerate(zip(names, classes, strict=False)) if pair[0] != pair[1]), None)
        where = ""
        if differs is not None:
            where = f"; row {differs} is for {names[differs]!r}, class {differs} is {classes[differs]!r}"
        elif names and rows != len(classes):
            longer, what = (names, "row") if rows > len(classes) else (classes, "class")
            last = min(rows, len(classes))
            where = f"; {what} {last} ({longer[last]!r}) has no counterpart"
        if rows != len(classes):
            raise UserError(
                f"{self.path} has {rows} rows, {whose} has {len(classes)} classes{where}; the vocabulary of a data set "
                "has one row for each of its classes"
            )
        if differs is not None:
            hint = "give the vocabulary of these classes"
            if sorted(names) == sorted(classes):
                hint = f"the names are the same in another order: {IN_ORDER}"
            raise UserError(f"{self.path} does not fit {whose}{where}; {hint}")


def load_vocabulary(embeddings: str | np.ndarray, counts: str | None, where: str) -> Vocabulary:
    """Read a vocabulary's files.

    Args:
        embeddings: zeroshot_path, of any float type; or the rows themselves, f32 (C,D), which have no `counts`.
        counts: cat_freq_path; None when all classes have images.
        where: the head's name in the config, for messages.

    Raises:
        UserError: a file that is missing or holds something else; two files, or two rows, that contradict each other.
    """
    if isinstance(embeddings, np.ndarray):
        return Vocabulary(embeddings, np.ones(len(embeddings), np.float32), "the vocabulary that was given", None)
    _check_path(f"{where}.zeroshot_path", embeddings)
    table = read_embeddings(embeddings, f"{where}.zeroshot_path")
    names = read_names(embeddings)
    if names is not None:
        _check_names(names, table, embeddings)
    drawable = np.ones(len(table), np.float32)
    if counts is not None:
        _check_path(f"{where}.cat_freq_path", counts)
        images = category_counts.by_name(counts, "image_count", names, f"{where}.cat_freq_path")
        if len(images) != len(table):
            raise UserError(
                f"{where}.cat_freq_path: {counts} has {len(images)} categories, {embeddings} has {len(table)} rows"
            )
        drawable = (np.array(images) > 0).astype(np.float32)
    return Vocabulary(table, drawable, embeddings, names)


def _check_path(where: str, path: object) -> None:
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"{where} is {path!r}; expected the path of a file")


def _check_names(names: list[str], table: np.ndarray, path: str) -> None:
    if len(names) != len(table):
        raise UserError(f"{names_file(path)} has {len(names)} names, {path} has {len(table)} rows")
    row_of: dict[str, int] = {}
    for row, name in enumerate(names):
        first = row_of.setdefault(name, row)
        # OpenImages has two categories "Bench" and two "Mouse"; with one embedding they contradict nothing.
        if not np.array_equal(table[first], table[row]):
            raise UserError(f"{names_file(path)}: rows {first} and {row} are both for {name!r} and differ in {path}")
