"""Annotation files in COCO's format: a JSON object with the lists ``images``, ``annotations`` and ``categories``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.files import replace

# What MMDetection needs of each entry, and of which type.
_MMDETECTION: dict[str, dict[str, type | tuple[type, ...]]] = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list, "area": (int, float)},
    "categories": {"id": int, "name": str},
}


def read(path: str | Path, **needed: Iterable[str]) -> dict[str, Any]:
    """The file's content.

    Args:
        needed: lists that it must have, and the keys of their entries, of any type: ``categories=("id", "name")``.

    Raises:
        UserError: the file is missing or no JSON, or lacks something needed; names the line or the first such entry.
    """
    return _read(path, {section: dict.fromkeys(keys, object) for section, keys in needed.items()})


def read_strictly(path: str | Path) -> dict[str, Any]:
    """The content of a file that MMDetection can use.

    Raises:
        UserError: a list, a key or a value of the right type is missing; names the first such entry.
    """
    content = _read(path, _MMDETECTION)
    for number, annotation in enumerate(content["annotations"]):
        box = annotation["bbox"]
        if len(box) != 4 or not all(isinstance(edge, int | float) for edge in box):
            raise UserError(f"{_named(path)}: annotations[{number}] has bbox {box}; expected [x, y, w, h]")
    return content


def category_names(path: str | Path) -> list[str]:
    """The names of the file's categories, in its order. Raises UserError as `read` does."""
    return [category["name"] for category in read(path, categories=("id", "name"))["categories"]]


def write(path: Path, content: Any) -> None:
    """Writes `content` as JSON; `path` appears whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    try:
        replace(path, json.dumps(content).encode())
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; free some space or make the folder writable"
        ) from error


def _read(path: str | Path, needed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{_named(path)}: {error.strerror}; give the path of a COCO file") from None
    except UnicodeDecodeError:
        raise UserError(f"{_named(path)}: not a text file; expected COCO JSON") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{_named(path)} line {error.lineno} column {error.colno}: not valid JSON: {error.msg}"
        ) from None
    for section, kinds in needed.items():
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{_named(path)}: no list {section!r}; expected COCO's format")
        for number, entry in enumerate(entries):
            for key, kind in kinds.items():
                if not isinstance(entry, dict) or key not in entry or not isinstance(entry[key], kind):
                    raise UserError(f"{_named(path)}: {section}[{number}] lacks a valid {key!r}: {_short(entry)}")
    found: dict[str, Any] = content
    return found


def _named(path: str | Path) -> str:
    return f"annotation file {str(path)!r}"


def _short(entry: Any) -> str:
    text = json.dumps(entry)
    return text if len(text) <= 120 else text[:117] + "..."
