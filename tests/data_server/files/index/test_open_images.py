"""The index of OpenImages' files; that its records are MMDetection's, `tests.data_server.datasets` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_server.files.index import cache, open_images
from tests.photos import write_open_images


def test_it_is_said_how_far_it_is(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_QUIET_SECONDS", -1.0)
    files, said = write_open_images(photos, tmp_path), list[str]()
    open_images.index_of(Path(files["ann_file"]), Path(files["meta_file"]), said.append)
    assert said[-1] == f"annotation file '{tmp_path}/boxes.csv': making its index, 100% done, 0 s left"
