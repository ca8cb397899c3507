"""A storage backend of a user's own, for ``custom_imports``: keys ``store://NAME`` are files of the folder in STORE."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import BaseStorageBackend, register_backend


@register_backend("store", prefixes="store")
class Store(BaseStorageBackend):
    def get(self, filepath: str) -> bytes:
        return Path(os.environ["STORE"], filepath.removeprefix("store://")).read_bytes()

    def get_text(self, filepath: str, encoding: str = "utf-8") -> str:
        return self.get(filepath).decode(encoding)

    @contextmanager
    def get_local_path(self, filepath: str) -> Iterator[str]:
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.get(filepath))
            file.flush()
            yield file.name
