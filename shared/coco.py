"""Annotation files in COCO's format: a JSON object with the lists ``images``, ``annotations`` and ``categories``.

The order of ``categories`` is THE order of classes, as in MMDetection, whatever their ids are and whatever the order of
``metainfo.classes`` is: label i is the i-th category of the list (of those that ``metainfo.classes`` names, if it names
some), row i of an embedding file and of a file of counts belongs to it. MMDetection's Objects365V1Dataset alone sorts
the list by id first.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from shared import json_text, source
from shared.errors import UserError, described
from shared.files import reported, save, whole

_MOST = 2**31  # pixels; NaN and what is infinite are not less either

# What MMDetection needs of each entry, and of which type.
_MMDETECTION: dict[str, dict[str, type | tuple[type, ...]]] = {
    "images": {"id": object, "file_name": str, "width": (int, float), "height": (int, float)},
    "annotations": {"id": object, "image_id": object, "category_id": object, "bbox": list, "area": (int, float)},
    "categories": {"id": object, "name": str},
}
_SORTED = "Objects365V1"
_REMEDY = "free some space or make the folder writable"


def read(path: str | Path, missing: Iterable[str] = (), **needed: Iterable[str]) -> dict[str, Any]:
    """The file's content.

    Args:
        missing: lists that may be missing, and are empty then.
        needed: lists that it must have, and the keys of their entries, of any type: ``categories=("id", "name")``.

    Raises:
        UserError: the file is missing or no JSON, or lacks something needed; names the line or the first such entry.
    """
    return _read(path, {section: dict.fromkeys(keys, object) for section, keys in needed.items()}, missing)


def read_strictly(path: str | Path) -> dict[str, Any]:
    """The content of a file that MMDetection can use.

    Raises:
        UserError: a list, a key or a value of the right type is missing; names the first such entry.
    """
    content = _read(path, _MMDETECTION)
    for number, annotation in enumerate(content["annotations"]):
        box = annotation["bbox"]
        if len(box) != 4 or not all(isinstance(edge, int | float) and abs(edge) < _MOST for edge in box):
            raise UserError(f"{_named(path)}: annotations[{number}] has bbox {box}; expected [x, y, w, h]")
    return content


def categories(path: str | Path) -> dict[Any, str]:
    """The names of the file's categories by id, in its order.

    Raises:
        UserError: as `read` does; a name is no text.
    """
    return {one["id"]: one["name"] for one in _read(path, {"categories": _MMDETECTION["categories"]})["categories"]}


def counted(categories: Mapping[Any, str], named: Iterable[str] | None, kind: str) -> dict[Any, str]:
    """The categories that count, in the order of their labels, with their names by id.

    Args:
        categories: of a file.
        named: the classes that a config names; None: all.
        kind: MMDetection's type of data set.
    """
    wanted = None if named is None else set(named)
    ids = sorted(categories) if _SORTED in kind else list(categories)
    return {one: categories[one] for one in ids if wanted is None or categories[one] in wanted}


def file_name(image: Mapping[str, Any], kind: str) -> str:
    """An image's path within its data set's folder, as MMDetection makes it.

    Args:
        image: an entry of ``images``.
        kind: MMDetection's type of data set.

    Raises:
        UserError: the entry names no file.
    """
    name = image.get("coco_url" if "LVISV1" in kind or "file_name" not in image else "file_name")
    if not isinstance(name, str):
        raise UserError(f"image {image.get('id')!r} has neither a file_name nor a coco_url")
    if "LVISV1" in kind:
        return name.replace("http://images.cocodataset.org/", "")
    if "LVIS" in kind:
        return name[-16:] if name.startswith("COCO") else name
    return "/".join(name.split("/")[-2:]) if "Objects365V2" in kind else name


def write(path: Path, content: Any) -> None:
    """Writes `content` as JSON; `path` appears whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    save(path, json.dumps(content).encode(), _REMEDY)


def write_lists(path: Path, lists: Mapping[str, Iterable[Any]]) -> None:
    """Writes an object of lists as `write` does, but an entry at a time: they need not be in memory together.

    Raises:
        UserError: it cannot be written.
    """
    with reported(path, _REMEDY), whole(path) as file:
        between = b"{"
        for key, entries in lists.items():
            file.write(between + json.dumps(key).encode() + b": [")
            between = b""
            for entry in entries:
                file.write(between + json.dumps(entry).encode())
                between = b", "
            between = b"], "
        file.write(b"]}")


def _read(path: str | Path, needed: dict[str, dict[str, Any]], missing: Iterable[str] = ()) -> dict[str, Any]:
    try:
        text = source.read(path)
        if text.startswith(codecs.BOM_UTF8):
            raise UserError(
                f"{_named(path)} begins with a byte order mark, where MMDetection's own reader stops; save it as UTF-8 "
                "without one"
            )
        content = json_text.parse(text)
    except OSError as error:
        raise UserError(f"{_named(path)}: {error.strerror or described(error)}; give the path of a COCO file") from None
    except UnicodeDecodeError:
        raise UserError(f"{_named(path)}: not a text file; expected COCO JSON") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{_named(path)} line {error.lineno} column {error.colno}: not valid JSON: {error.msg}"
        ) from None
    except ValueError as error:
        raise UserError(f"{_named(path)}: not valid JSON: {error}") from None
    if isinstance(content, dict):
        content = {**{section: [] for section in missing}, **content}
    for section, kinds in needed.items():
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{_named(path)}: no list {section!r}; expected COCO's format")
        for number, entry in enumerate(entries):
            for key, kind in kinds.items():
                if not isinstance(entry, dict) or key not in entry or not _fits(key, entry[key], kind):
                    raise UserError(f"{_named(path)}: {section}[{number}] lacks a valid {key!r}: {_short(entry)}")
    found: dict[str, Any] = content
    return found


def _fits(key: str, value: Any, kind: Any) -> bool:
    if key == "id" or key.endswith("_id"):
        return isinstance(value, kind) and isinstance(value, int | str | float)
    if key in ("name", "file_name"):
        return isinstance(value, kind) and isinstance(value, str)
    return isinstance(value, kind)


def _named(path: str | Path) -> str:
    return f"annotation file {str(path)!r}"


def _short(entry: Any) -> str:
    text = json.dumps(entry)
    return text if len(text) <= 120 else text[:117] + "..."
