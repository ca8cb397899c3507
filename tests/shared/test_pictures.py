"""A JPEG that is cut short is told from a whole one and from one with bytes behind its end."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import UserError
from shared.pictures import colours, ends_early


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_is_cut_short_is_told_wherever_it_ends(mode: str, options: dict, tmp_path: Path) -> None:
    path = tmp_path / "picture.dat"  # what counts is what it is, not its name
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path, "JPEG", **options)
    content = path.read_bytes()
    assert ends_early(path.open("rb")) is None
    assert ends_early(BytesIO(content + b"of a camera")) is None
    for length in (2, 20, *range(len(content) // 3, len(content) - 60, 97)):
        assert "truncated or damaged" in ends_early(BytesIO(content[:length])), length


def test_other_files_are_not_looked_at() -> None:
    for content in (b"", b"\xff", b"text", b"\x89PNG"):
        assert ends_early(BytesIO(content)) is None


def test_colours_are_rounded_to_the_nearest_even_ones_at_the_half_and_cut() -> None:
    floats = np.array([[[0.5, 1.5, 2.4], [2.6, -3.0, 300.0]]], np.float32)
    found = colours(floats, "uint8")
    assert found.dtype == np.uint8 and found.tolist() == [[[0, 2, 2], [3, 0, 255]]]
    assert colours(found, "uint8") is found


def test_as_floats_colours_stay_what_they_are() -> None:
    floats = np.array([[[0.5, 1.5, 2.4], [2.6, -3.0, 300.0]]], np.float32)
    assert colours(floats, "float32") is floats
    for whole in (np.uint8, np.int64):
        found = colours(np.array([[[0, 7, 255]]], whole), "float32")
        assert found.dtype == np.float32 and found.tolist() == [[[0, 7, 255]]]


def test_long_whole_numbers_are_bytes_if_they_are_colours() -> None:
    long = np.array([[[0, 1, 255]]], np.int64)
    assert colours(long, "uint8").dtype == np.uint8 and colours(long, "uint8").tolist() == long.tolist()
    for wrong in (long - 1, long + 1):
        with pytest.raises(UserError, match=r"^images have dtype int64; expected uint8"):
            colours(wrong, "uint8")


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 4), (1, 2, 3, 3)])
def test_a_picture_without_three_channels_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^images have shape \(.*\); expected three channels, \(h, w, 3\): load them"):
        colours(np.zeros(shape, np.uint8), "float32")


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, bool, complex])
def test_numbers_that_are_no_colours_are_refused_with_their_type(dtype: type) -> None:
    with pytest.raises(UserError, match=rf"^images have dtype {np.dtype(dtype)}; expected uint8, or floats of 0..255"):
        colours(np.zeros((2, 2, 3), dtype), "float32")
