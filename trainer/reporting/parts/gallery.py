"""Pictures in the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

JPEG_QUALITY = 85
# The template of a picture, which it finds as ``picture``.
FIGURE = """  <figure>
    <img src="{{ picture.url() }}" alt="{{ picture.title }}. {{ picture.note }}" loading="lazy">
    <figcaption><b>{{ picture.title }}</b> {{ picture.note }}</figcaption>
  </figure>
"""
LONGEST_SIDE = 800  # pixels of a picture; larger ones are scaled down


def reduced(image: np.ndarray, longest: int) -> Image.Image:
    """An image u8 (H,W,3), scaled down where its longer side has more than `longest` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


@dataclass(frozen=True)
class Picture:
    """An image with a caption.

    Attributes:
        image: u8 (H,W,3), RGB, drawn already.
        title: its name; what a screen reader says, together with the note.
        note: e.g. what is found in it and what is not.
    """

    image: np.ndarray
    title: str
    note: str = ""

    def url(self) -> str:
        """The picture itself, as an address that a page holds: a JPEG in base64."""
        content = io.BytesIO()
        reduced(self.image, LONGEST_SIDE).save(content, format="JPEG", quality=JPEG_QUALITY, optimize=True)
        return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side.

    Attributes:
        folded: whether the title alone is seen at first, and a click on it shows the rest.
    """

    TEMPLATE: ClassVar[str] = (
        """
{% if part.folded %}
<details>
<summary>{{ part.title }}</summary>
{% else %}
<h3>{{ part.title }}</h3>
{% endif %}
{% if part.note %}
<p class="note">{{ part.note }}</p>
{% endif %}
<div class="gallery">
{% for picture in part.pictures %}
"""
        + FIGURE
        + """{% endfor %}
</div>
{% if part.folded %}
</details>
{% endif %}
"""
    )

    title: str
    pictures: Sequence[Picture]
    note: str = ""
    folded: bool = False
