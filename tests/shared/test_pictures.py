"""A JPEG that is cut short is told from a whole one and from one with bytes behind its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.pictures import cut_short


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_is_cut_short_is_told_wherever_it_ends(mode: str, options: dict, tmp_path: Path) -> None:
    path = tmp_path / "picture.dat"  # what counts is what it is, not its name
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path, "JPEG", **options)
    content = path.read_bytes()
    assert cut_short(path) is None
    path.write_bytes(content + b"of a camera")
    assert cut_short(path) is None
    for length in (2, 20, *range(len(content) // 3, len(content) - 60, 97)):
        path.write_bytes(content[:length])
        assert "truncated or damaged" in cut_short(path), length


def test_other_files_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    for content in (b"", b"\xff", b"text", b"\x89PNG"):
        path.write_bytes(content)
        assert cut_short(path) is None
    with pytest.raises(FileNotFoundError):
        cut_short(tmp_path / "none.jpg")
