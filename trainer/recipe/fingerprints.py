"""Decides whether a step must run again: digests of everything that goes into it and of what came out.

    fingerprint of a step = digest of │ task, arguments │ config │ files that the two name │ the user's own code that
                                      │ the config names │ results of the steps it needs │ version of this program │

Files are compared by content. For a data set that is the annotation file, in VOC's style with the XML files that it
lists, or the archive that these lie in; its images are not read, nor what lies behind addresses. Files that are named
are hashed once, as their indexes are (`shared.contents`). A file that belongs to a step it needs counts through that
step's results.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xxhash

from shared import archives, contents
from trainer.process import user_code
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
        "files": {path: contents.file_digest(path) for path in sorted({*files(plain), *files(_words(step))})},
        "needs": {name: results[name] for name in step.needs},
    }
    # What few steps have is in the fingerprints of those alone, so that all others stay those of earlier versions.
    if code := user_code.digests(plain):
        content["code"] = code
    if xml := sorted(set(xml_files(plain))):
        content["xml"] = _digest_of_all(xml)
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def files(config: Any, root: str | None = None) -> Iterator[str]:
    """The files that texts in a config name, as they are or under the ``data_root`` that is nearest above them."""
    if isinstance(config, dict):
        root = config.get("data_root") or root
        for key, value in config.items():
            if key != "img":  # of data_prefix: a folder, or an archive, of images
                yield from files(value, root)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from files(value, root)
    elif isinstance(config, str):
        for path in (Path(config), Path(root or "", config)):
            if os.path.isfile(path):  # False of whatever cannot be a path, where Path.is_file raises
                yield str(path)
                return
            if member := archives.member(path):
                yield member.archive
                return


def xml_files(config: Any, root: str = "") -> Iterator[str]:
    """The files that hold the annotations of a config's data sets in VOC's style, which list them by their names."""
    if isinstance(config, dict):
        root = config.get("data_root") or root
        listed, prefix = os.path.join(root, str(config.get("ann_file") or "")), config.get("data_prefix")
        below = str(prefix.get("sub_data_root", "")) if isinstance(prefix, dict) else ""
        folder = os.path.join(root, below, str(config.get("ann_subdir", "Annotations")))
        if os.path.isfile(listed) and not listed.endswith(".json") and os.path.isdir(folder):
            with open(listed, encoding="utf-8", errors="replace") as lines:
                paths = [os.path.join(folder, f"{line.strip()}.xml") for line in lines]
            yield from filter(os.path.isfile, paths)
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from xml_files(value, root)


def _words(step: Step) -> list[str]:
    """What the arguments of a step say: whole words, and what is behind an equals sign."""
    return [part for word in step.arguments for part in (word, word.partition("=")[2])]


def _digest_of_all(paths: list[str]) -> str:
    """Of many small files together, which are read once in a process while they stay as they are."""
    found = [(path, os.stat(path)) for path in paths]
    return _read_all(tuple((path, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path, one in found))


@functools.cache
def _read_all(signatures: tuple[tuple[str, int, int, int, int], ...]) -> str:
    found = xxhash.xxh3_128()
    for path, *_ in signatures:
        content = Path(path).read_bytes()
        found.update(f"{os.path.basename(path)} {len(content)} ".encode())
        found.update(content)
    return found.hexdigest()


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
