"""Image files that are missing, damaged or of another size are found, however few or many are decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from data_server.checks.findings import Findings
from data_server.checks.images import ImageRecord, look_at


@pytest.fixture
def images(tmp_path: Path) -> list[ImageRecord]:
    """Ten sound images."""
    records = []
    for number in range(10):
        path = tmp_path / f"{number}.jpg"
        Image.new("RGB", (40, 30), (number, 0, 0)).save(path)
        records.append((str(path), 40, 30))
    return records


def check(images: list[ImageRecord], decode: int | None = None) -> tuple[int, list[str]]:
    found = Findings()
    return look_at(images, decode, found), [str(finding) for finding in found]


def test_sound_images_are_decoded_as_many_as_asked_for(images: list[ImageRecord]) -> None:
    assert check(images) == (10, [])
    assert check(images, 3) == (3, [])
    assert check(images, 99) == (10, [])
    assert check(images, 0) == (0, [])
    assert check([]) == (0, [])


def test_images_to_decode_are_spread_over_all(images: list[ImageRecord]) -> None:
    Path(images[9][0]).write_bytes(b"not an image")
    assert check(images, 2) == (2, [f"ERROR   1 image files that cannot be read: {images[9][0]} (not an image)"])


def test_a_missing_image_is_found_without_decoding(images: list[ImageRecord]) -> None:
    Path(images[4][0]).unlink()
    assert check(images, 0) == (0, [f"ERROR   1 image files that are not there: {images[4][0]}"])
    assert check(images)[0] == 9


def test_a_truncated_image_is_found(images: list[ImageRecord]) -> None:
    path = Path(images[0][0])
    path.write_bytes(path.read_bytes()[:-50])
    (line,) = check(images)[1]
    assert line.startswith(f"ERROR   1 image files that cannot be read: {path} (truncated or damaged: ")


def test_an_image_of_another_size_than_annotated_is_found(images: list[ImageRecord]) -> None:
    images[1] = (images[1][0], 30, 40)
    (line,) = check(images)[1]
    assert line == (
        f"ERROR   1 images of another size than the annotations say: {images[1][0]} (40x30, expected 30x40)"
    )
    images[1] = (images[1][0], 0, 0)  # the annotations say nothing
    assert check(images)[1] == []


def test_a_turned_photograph_has_the_size_that_opencv_shows(images: list[ImageRecord]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(images[2][0], exif=exif)
    images[2] = (images[2][0], 30, 40)
    assert check(images)[1] == []
