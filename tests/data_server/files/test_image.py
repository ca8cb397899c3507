"""What is wrong with an image file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_server.files.image import damage


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    return tmp_path / "a.jpg"


def test_a_good_image_has_no_damage(jpeg: Path) -> None:
    assert damage(str(jpeg)) is None


def test_a_good_image_beyond_pillows_limit_has_none_either(jpeg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert damage(str(jpeg)) is None


def test_a_file_that_is_cut_short_or_is_no_image_is_told(jpeg: Path) -> None:
    content = jpeg.read_bytes()
    jpeg.write_bytes(content[: len(content) // 2])
    assert damage(str(jpeg)).startswith("truncated or damaged: OSError")
    jpeg.write_bytes(b"a text")
    assert damage(str(jpeg)) == "not an image"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "FileNotFoundError" in damage(str(tmp_path / "none.jpg"))
