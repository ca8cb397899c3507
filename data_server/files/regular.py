"""MMDetection's own reading of files, kept to regular ones (`shared.regular`)."""

from __future__ import annotations

from mmengine.fileio.backends import LocalBackend

from shared.regular import read


def guard() -> None:
    """Has MMEngine's reader of local files, through which all of MMDetection's transforms read, take regular ones
    alone; of every image that goes into a sample, and of masks and annotations."""
    LocalBackend.get = lambda _, filepath: read(filepath)
    LocalBackend.get_text = lambda _, filepath, encoding="utf-8": read(filepath).decode(encoding)
