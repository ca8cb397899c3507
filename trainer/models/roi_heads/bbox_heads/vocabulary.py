"""A vocabulary: what a CLIP box head knows of the classes it is to tell apart.

zeroshot_path   .npy (C,D)   the text embedding of each class, by ascending category id, not normalised
cat_freq_path   .json        the same categories with their `image_count` in the training set (optional)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.errors import UserError
from trainer.vocabulary import read_embeddings


@dataclass
class Vocabulary:
    """C classes.

    Attributes:
        embeddings: f32 (C,D).
        drawable: f32 (C,), 1 for classes that the federated loss may draw: those that have training images.
    """

    embeddings: np.ndarray
    drawable: np.ndarray


def load_vocabulary(embeddings: str | np.ndarray, counts: str | None, where: str) -> Vocabulary:
    """Read a vocabulary's files.

    Args:
        embeddings: zeroshot_path, of any float type; or the rows themselves, f32 (C,D), which have no `counts`.
        counts: cat_freq_path; None when all classes have images.
        where: the head's name in the config, for messages.

    Raises:
        UserError: a file that is missing or holds something else.
    """
    if isinstance(embeddings, np.ndarray):
        return Vocabulary(embeddings, np.ones(len(embeddings), np.float32))
    table = read_embeddings(embeddings, f"{where}.zeroshot_path")
    drawable = np.ones(len(table), np.float32)
    if counts is not None:
        images = _image_counts(counts, where)
        if len(images) != len(table):
            raise UserError(
                f"{where}.cat_freq_path: {counts} has {len(images)} categories, {embeddings} has {len(table)} rows"
            )
        drawable = (np.array(images) > 0).astype(np.float32)
    return Vocabulary(table, drawable)


def _image_counts(path: str, where: str) -> list[int]:
    """`image_count` of each category by ascending id."""
    try:
        categories = json.loads(Path(path).read_text())
        return [category["image_count"] for category in sorted(categories, key=lambda category: category["id"])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{where}.cat_freq_path: {path!r} should be a JSON list of categories with 'id' and 'image_count' "
            f"({type(error).__name__}: {error}); python -m data_server category-info writes one"
        ) from None
