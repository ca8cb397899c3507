"""How often each category occurs in a training set: the file that a config's ``cat_freq_path`` names.

    A_cat_info.json   [{"id": 3, "name": "cup", "image_count": 12, "instance_count": 40}, ...]

``python -m data_server category-info`` writes it from an annotation file. Classes are in the order of their ids.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.errors import UserError


def by_id(path: str, key: str, where: str = "cat_freq_path") -> list[Any]:
    """What each category has as its `key`, by ascending id.

    Args:
        where: the config's key that names the file, for messages.

    Raises:
        UserError: the file is missing, or holds something else.
    """
    try:
        categories = json.loads(Path(path).read_text(encoding="utf-8"))
        return [category[key] for category in sorted(categories, key=lambda category: category["id"])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{where}: {path!r} should be a JSON list of categories with 'id' and {key!r} "
            f"({type(error).__name__}: {error}); python -m data_server category-info writes one"
        ) from None
