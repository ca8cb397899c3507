"""Pictures in the report: JPEGs inside the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from trainer.reporting import html as report
from trainer.reporting.html import Report, Section
from trainer.reporting.parts.gallery import LONGEST_SIDE, Gallery, Picture


def test_large_pictures_are_scaled_down() -> None:
    large = np.random.default_rng(0).integers(0, 255, (1600, 3200, 3)).astype(np.uint8)
    text = report.render(Report("t", "s", [Section("x", [Gallery("g", [Picture(large, "one")])])]))
    assert len(text) < 800_000


def test_titles_and_notes_are_shown_as_they_are() -> None:
    image, text = np.zeros((4, 4, 3), np.uint8), '<b>"&'
    page = report.render(Report("t", "s", [Section("x", [Gallery(text, [Picture(image, text, text)], text)])]))
    assert text not in page and page.count("&lt;b&gt;&#34;&amp;") == 6


def test_pictures_are_seen_at_once_unless_they_are_folded() -> None:
    picture = Picture(np.zeros((4, 4, 3), np.uint8), "one")
    for gallery, folds in ((Gallery("g", [picture]), 0), (Gallery("g", [picture], folded=True), 1)):
        assert report.render(Report("t", "s", [Section("x", [gallery])])).count("<summary>g</summary>") == folds


def test_a_picture_keeps_its_shape_and_colours() -> None:
    image = np.zeros((500, 1000, 3), np.uint8)
    image[..., 0] = 250
    kind, content = Picture(image, "one").url().split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.size == (LONGEST_SIDE, LONGEST_SIDE // 2)
        assert np.abs(np.asarray(picture, int)[200, 400] - [250, 0, 0]).max() < 12
