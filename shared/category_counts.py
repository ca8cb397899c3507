"""How often each category occurs in a training set: the file that a config's ``cat_freq_path`` names.

    A_cat_info.json   [{"id": 3, "name": "cup", "image_count": 12, "instance_count": 40}, ...]

``python -m data_server category-info`` writes it from an annotation file, in the file's order, which is that of the
classes (`shared.coco`). A category's count is found by its name. Where the names of the classes are not known, their
order is that of ascending ids, as in the PyTorch release, whose embeddings have no names beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared import json_text
from shared.errors import UserError


def by_name(path: str, key: str, names: Sequence[str] | None, where: str = "cat_freq_path") -> list[Any]:
    """What the category of each class has as its `key`.

    Args:
        names: of the classes, by label; None where they are not known.
        where: the config's key that names the file, for messages.

    Raises:
        UserError: the file is missing, holds something else, or is of other classes.
    """
    try:
        categories = json_text.parse(Path(path).read_bytes())
        rows = [(category["id"], category.get("name"), category[key]) for category in categories]
        by_id = sorted(rows, key=lambda row: row[0])
        wrong = [value for *_, value in rows if not _fits(key, value)]
        if not isinstance(categories, list) or wrong:
            raise ValueError(f"{key} is {repr(wrong)[:40]}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where}: {path!r} should be a JSON list of categories with 'id' and {key!r} "
            f"({type(error).__name__}: {error}); python -m data_server category-info writes one"
        ) from None
    own, values = [name for _, name, _ in rows], [value for *_, value in rows]
    if names is None or None in own:
        return [value for *_, value in by_id]
    if own == list(names):
        return values
    for name in names:
        if name not in own:
            raise UserError(
                f"{where}: {path} has no category {name!r}, which is a class; python -m data_server category-info "
                "counts those of the annotation file that is trained on"
            )
    if len(set(own)) < len(own):
        raise UserError(
            f"{where}: {path} has several categories of one name in another order than the classes; make it again from "
            "the annotation file that is trained on: python -m data_server category-info"
        )
    value_of = dict(zip(own, values, strict=True))
    return [value_of[name] for name in names]


def _fits(key: str, value: Any) -> bool:
    return isinstance(value, str) if key == "name" else _is_index(value) and value >= 0


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
