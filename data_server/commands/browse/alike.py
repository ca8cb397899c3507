"""Which names of a vocabulary a text encoder can hardly tell apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_server.checks.vocabulary import paths_of
from data_server.commands.browse.catalogue import Catalogue
from shared.embeddings import read_embeddings
from shared.errors import UserError

MOST_PAIRS = 60


def alike(catalogue: Catalogue, source: int, head: dict[str, Any]) -> dict[str, Any]:
    """``file``, the text embeddings that a config's box head has for a data set, None where it has none, and ``pairs``:
    two names and the cosine between their rows, the nearest first.

    Raises:
        UserError: the file cannot be read, or has rows for another number of classes.
    """
    part = catalogue.parts[source]
    file = None if part.class_agnostic else paths_of(head, source, catalogue.config["training"])[0]
    if file is None:
        return {"file": None, "pairs": []}
    rows = read_embeddings(file).astype(np.float64)
    if len(rows) != len(part.classes):
        raise UserError(f"text embeddings {file} have {len(rows)} rows, the data set has {len(part.classes)} classes")
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    first, second = np.triu_indices(len(rows), 1)
    cosines = (rows @ rows.T)[first, second]
    nearest = np.argsort(-cosines, kind="stable")[:MOST_PAIRS].tolist()
    names = part.classes
    return {
        "file": file,
        "pairs": [[names[first[one]], names[second[one]], round(float(cosines[one]), 6)] for one in nearest],
    }
