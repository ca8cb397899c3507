"""Image files by what a user gives: files, folders, patterns."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from shared.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
_HIDDEN = "."  # what file managers, notebooks and macOS keep about images lies under names that begin so


def find(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """Image files by name, each once.

    Args:
        paths: files; folders, which stand for all images below them, also behind links; patterns with ``*``, ``?``,
            ``[``, where ``**`` stands for any folders.

    Raises:
        UserError: a path does not exist, a pattern matches nothing, a folder has no image.
    """
    found: dict[Path, None] = {}
    for given in map(str, paths):
        path = Path(given)
        if os.path.isdir(path):
            files = _below(path)
            if not files:
                raise UserError(f"images {given}: no image in this folder; looked for {', '.join(SUFFIXES)}")
        elif os.path.exists(path):
            files = [path]
        else:
            files = sorted(Path(file) for file in glob.glob(given, recursive=True) if Path(file).is_file())
            if not files:
                what = "no file matches this pattern" if glob.has_magic(given) else "no such file or folder"
                raise UserError(f"images {given}: {what}")
        found.update(dict.fromkeys(files))
    return list(found)


def _below(folder: Path) -> list[Path]:
    """The images below a folder, by path. Links to folders are followed, each folder is looked through once."""
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], deque[Path]()
    while folders or links:
        here = folders.pop() if folders else links.popleft()  # links last: a folder is called by its own name
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in sorted(one for one in here.iterdir() if not one.name.startswith(_HIDDEN)):
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(entry)
            elif entry.suffix.lower() in SUFFIXES and entry.is_file():
                found.append(entry)
    return sorted(found)
