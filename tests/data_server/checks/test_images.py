"""Image files that are missing, damaged or of another size are found, however few or many are decoded."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from data_server.checks.findings import Findings
from data_server.checks.images import ImageRecord, look_at
from data_server.files import readers


@pytest.fixture
def images(tmp_path: Path) -> list[ImageRecord]:
    """Ten sound images."""
    records = []
    for number in range(10):
        path = tmp_path / f"{number}.jpg"
        Image.new("RGB", (40, 30), (number, 0, 0)).save(path)
        records.append((str(path), 40, 30))
    return records


def loading(**loader: str) -> Callable[[dict[str, str]], dict[str, Any]]:
    """The pipeline's transform that loads a picture."""
    from mmcv.transforms import LoadImageFromFile

    return LoadImageFromFile(**loader)


def check(images: list[ImageRecord], decode: int | None = None, **loader: str) -> tuple[int, list[str]]:
    found = Findings()
    load = loading(**loader)
    decoded = look_at(images, lambda place: load({"img_path": images[place][0]})["img"], decode, found)
    return decoded, [str(finding) for finding in found]


def test_sound_images_are_decoded_as_many_as_asked_for(images: list[ImageRecord]) -> None:
    assert check(images) == (10, [])
    assert check(images, 3) == (3, [])
    assert check(images, 99) == (10, [])
    assert check(images, 0) == (0, [])
    assert check([]) == (0, [])


def test_images_to_decode_are_spread_over_all(images: list[ImageRecord]) -> None:
    Path(images[9][0]).write_bytes(b"not an image")
    assert check(images, 2) == (1, [f"ERROR   1 image files that cannot be read: {images[9][0]} (not an image)"])


def test_a_missing_image_is_found_without_decoding(images: list[ImageRecord]) -> None:
    Path(images[4][0]).unlink()
    assert check(images, 0) == (0, [f"ERROR   1 image files that are not there: {images[4][0]}"])
    assert check(images)[0] == 9
    images[4] = (images[4][0] + "x" * 300, 40, 30)
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
    """And as the pipeline's loader sees it: Pillow turns WebP, TIFF and PNG, too."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for place, suffix in enumerate(("jpg", "webp", "tif", "png")):
        path = Path(images[place][0]).with_suffix(f".{suffix}")
        Image.new("RGB", (40, 30)).save(path, exif=exif)
        for loader in ({}, {"imdecode_backend": "pillow"}, {"color_type": "color_ignore_orientation"}):
            height, width = loading(**loader)({"img_path": str(path)})["img_shape"]
            assert check([(str(path), width, height)], **loader) == (1, [])
            assert "another size" in check([(str(path), height, width)], **loader)[1][0]
    assert "another size" in check([(images[0][0], 40, 30)])[1][0]
    assert check([(images[0][0], 40, 30)], color_type="color_ignore_orientation") == (1, [])


@pytest.mark.parametrize("suffix", ["gif", "avif", "tif"])
def test_a_format_that_training_cannot_read_is_found(suffix: str, images: list[ImageRecord]) -> None:
    path = Path(images[0][0]).with_suffix(f".{suffix}")
    if suffix == "tif":
        Image.fromarray(np.zeros((30, 40), np.float32)).save(path)
    else:
        frames = [Image.new("RGB", (40, 30), (number, 0, 0)) for number in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    read = cv2.imread(str(path)) is not None
    (line,) = check([(str(path), 40, 30)])[1] or [""]
    assert read or (f"ERROR   1 image files that cannot be read: {path} (a " in line and "convert it to PNG" in line)
    if suffix != "tif":
        assert check([(str(path), 40, 30)], imdecode_backend="pillow") == (1, [])


def test_pictures_without_three_channels_of_bytes_are_found(images: list[ImageRecord]) -> None:
    assert "expected three channels" in check(images[:1], color_type="grayscale")[1][0]
    path = Path(images[0][0]).with_suffix(".png")
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint16))
    assert "uint16" in check([(str(path), 40, 30)], color_type="unchanged")[1][0]


@pytest.mark.slow
def test_a_panorama_that_training_reads_is_accepted(images: list[ImageRecord]) -> None:
    path = Path(images[0][0])
    cv2.imwrite(str(path), np.zeros((9500, 20000, 3), np.uint8))
    assert check([(str(path), 20000, 9500)]) == (1, [])
    path.write_bytes(path.read_bytes() + bytes(100))
    assert check([(str(path), 20000, 9500)]) == (1, [])


def test_images_in_an_archive_are_looked_for_and_decoded_there(images: list[ImageRecord], tmp_path: Path) -> None:
    readers.replace()
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path, *_ in images[:-1]:
            archive.write(path, Path(path).name)
    packed = [(str(tmp_path / "all.zip" / Path(path).name), 40, 30) for path, *_ in images]
    assert check(packed) == (9, [f"ERROR   1 image files that are not there: {packed[9][0]}"])
