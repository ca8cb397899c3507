"""An annotation file in COCO's format, for tools that read it whole and write another beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from shared.errors import UserError


def read(path: Path, **needed: tuple[str, ...]) -> dict[str, Any]:
    """The file's content.

    Args:
        path: of the JSON file.
        needed: sections that it must have (``categories=("id", "name")``), lists of objects with these keys.

    Raises:
        UserError: the file is missing or no JSON, or lacks something needed; names the first such place.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"annotation file {path}: {error.strerror}; give the path of a COCO file") from None
    except ValueError as error:  # of JSON, or of UTF-8
        raise UserError(f"annotation file {path}: not valid JSON: {error}") from None
    for section, keys in needed.items():
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"annotation file {path}: no list {section!r}; expected COCO's format")
        for number, entry in enumerate(entries):
            lacking = [key for key in keys if not isinstance(entry, dict) or key not in entry]
            if lacking:
                raise UserError(f"annotation file {path}: {section}[{number}] has no {lacking[0]!r}")
    return content


def write(path: Path, content: Any) -> None:
    """Writes `content` as JSON; `path` appears complete or not at all.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(content))
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}; make room, or permit writing") from error
