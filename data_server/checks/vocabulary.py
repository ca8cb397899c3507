"""Compares the classes of a data set with the text embeddings of a config's box head: how many, and in which order.

A row belongs to a label by its place alone; nothing in training shows that the rows are another data set's.
"""

from __future__ import annotations

from typing import Any

from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from shared import category_counts
from shared.embeddings import IN_ORDER, names_file, read_embeddings, read_names
from shared.errors import UserError


def check(subject: Subject, found: Findings) -> str:
    """Compares the classes of a data set that could be built, unless it tells none apart; has nothing to say."""
    if subject.whole is not None and not subject.whole.class_agnostic:
        compare(subject.whole.classes, subject.head, subject.number, subject.training, found)
    return ""


def paths_of(head: dict[str, Any], number: int, training: bool) -> tuple[str | None, str | None]:
    """zeroshot_path and cat_freq_path, each or None, that a box head has for a data set.

    Args:
        head: the config's.
        number: of the data set.
        training: whether it is one of those trained on; a head of several vocabularies is tested with one.
    """
    place = number if training else head.get("test_vocabulary", 0)
    return _chosen(head.get("zeroshot_path"), place), _chosen(head.get("cat_freq_path"), place)


def _chosen(value: str | list[str] | None, place: int) -> str | None:
    if not isinstance(value, list | tuple):
        return value
    return value[place] if place < len(value) else None


def compare(classes: list[str], head: dict[str, Any], number: int, training: bool, found: Findings) -> None:
    """Checks the vocabulary that a box head has for a data set; none, where it tells no classes apart.

    Args:
        classes: the data set's, by label.
        head, number, training: see `paths_of`.
        found: faults go there.
    """
    if "zeroshot_path" not in head:
        return
    embeddings, counts = paths_of(head, number, training)
    if embeddings is None:
        found.error(f"no text embeddings: zeroshot_path has no entry for data set {number} (counted from 0)")
        return
    try:
        rows, names = len(read_embeddings(embeddings)), read_names(embeddings)
        if rows != len(classes):
            found.error(f"text embeddings {embeddings} have {rows} rows, the data set has {len(classes)} classes")
        elif names is not None:
            _compare_names(classes, names, str(names_file(embeddings)), found)
        else:
            found.warning(
                f"nothing says in which order the rows of {embeddings} are: there is no {names_file(embeddings).name} "
                "beside it; python -m data_server names writes one"
            )
    except UserError as error:
        found.error(str(error))
    if counts is not None and training:
        _compare_counts(classes, counts, found)


def _compare_names(classes: list[str], names: list[str], source: str, found: Findings) -> None:
    for row, (ours, theirs) in enumerate(zip(classes, names, strict=False)):
        if ours != theirs:
            found.error(f"rows of another name than the class's in {source}", f"row {row}: {theirs!r} for {ours!r}")
    if len(names) != len(classes):
        found.error(f"{source} has {len(names)} names, the data set has {len(classes)} classes")
    elif names != classes and sorted(names) == sorted(classes):
        found.error(f"the names are the same in another order: {IN_ORDER}")


def _compare_counts(classes: list[str], path: str, found: Findings) -> None:
    try:
        category_counts.by_name(path, "image_count", classes)
    except UserError as error:
        found.error(str(error))
