"""Decides whether a step must run again: digests of everything that goes into it and of what came out.

    fingerprint of a step = digest of │ task, arguments │ config │ files that the config names │ results of the steps
                                      │ it needs │ version of this program │

Files are compared by content. For a data set that is the annotation file; its images are not read. Files that the
config names are hashed once, as their indexes are (`shared.contents`). A file that belongs to a step it needs counts
through that step's results.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xxhash

from shared import contents
from trainer.recipe.steps import Step

_DISTRIBUTION = "unidetector-jittor"
_CHUNK = 1 << 22


def fingerprint(step: Step, results: dict[str, dict[str, str]]) -> str:
    """32 hexadecimal digits.

    Args:
        results: of each earlier step, the digest of each file that came out.
    """
    plain = step.config.to_dict()
    content = {
        "version": program_version(),
        "task": step.task,
        "arguments": step.arguments,
        "config": plain,
        "weights": step.weights,
        "files": {path: _kept_digest(path) for path in sorted(set(files(plain)))},
        "needs": {name: results[name] for name in step.needs},
    }
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def files(config: Any, root: str | None = None) -> Iterator[str]:
    """The files that texts in a config name, as they are or under the ``data_root`` that is nearest above them."""
    if isinstance(config, dict):
        root = config.get("data_root") or root
        for value in config.values():
            yield from files(value, root)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from files(value, root)
    elif isinstance(config, str):
        for path in (Path(config), Path(root or "", config)):
            if os.path.isfile(path):  # False of whatever cannot be a path, where Path.is_file raises
                yield str(path)
                return


def _kept_digest(path: str) -> str:
    with open(path, "rb") as file:
        return contents.digest(file.fileno())


def digest(path: Path) -> str:
    """Of a file's content: 32 hexadecimal digits."""
    found = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def program_version() -> str:
    """Of this program; empty where it is run from a folder and not installed."""
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return ""
