"""Boxes with names and scores on an image, to be read by people, whatever the image's size.

    large boxes ─► small boxes ─► dashed ground truth ─► labels, best score first, where they hide least

Lines and letters grow with the image; an image that is too small for letters is enlarged. A name has the same colour in
every picture. A label never leaves the image nor covers another one: where there is no place left it is omitted, so the
best detections are named.
"""

from __future__ import annotations

import colorsys
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST_SIDE = 480  # pixels of the longer side of a picture
LETTERS = 40  # a letter's height is the image's mean side divided by this number
LINE = 280  # the same for a line's width
BUNDLE = 0.6
DASH = 4  # length of a dash in line widths
TRUTH = (255, 255, 255)
DARK = (0, 0, 0)

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]


def draw(
    image: np.ndarray,
    boxes: np.ndarray,
    names: Sequence[str],
    scores: np.ndarray,
    truths: np.ndarray | None = None,
    truth_names: Sequence[str] = (),
) -> np.ndarray:
    """A picture of the image with what was found in it.

    Args:
        image: u8 (H,W,3), RGB.
        boxes: (m,4), x1,y1,x2,y2 in pixels of the image.
        names: (m,), what is written at each box; an empty one leaves its score alone.
        scores: (m,).
        truths: (n,4), ground truth, drawn dashed.
        truth_names: (n,), or empty where all have no name.

    Returns:
        u8 (h,w,3), RGB, as large as the image or larger.
    """
    picture, scale = _enlarged(image)
    canvas = ImageDraw.Draw(picture)
    side = (picture.width * picture.height) ** 0.5
    line = max(round(side / LINE), 2)
    labels = Labels(picture.size, font_of(max(round(side / LETTERS), 13)))
    found = [inside(box * scale, picture.size, line) for box in np.asarray(boxes, float)]
    true = [inside(box * scale, picture.size, line) for box in ([] if truths is None else np.asarray(truths, float))]
    labels.boxes = [*found, *true]

    for index in sorted(range(len(found)), key=lambda index: -area(found[index])):
        frame(canvas, found[index], DARK, line + 2)
        frame(canvas, found[index], colour_of(names[index]), line)
    for box in true:
        dashed_frame(canvas, box, TRUTH, max(line - 1, 2), DASH * line)
    for index in np.argsort(-np.asarray(scores), kind="stable"):
        text = f"{names[index]} {scores[index]:.2f}".strip()
        labels.write(canvas, found[index], text, colour_of(names[index]))
    for box, name in zip(true, truth_names or [""] * len(true), strict=True):
        if name:
            labels.write(canvas, box, name, TRUTH)
    return np.asarray(picture)


def distinct(boxes: np.ndarray, scores: np.ndarray, least: float, most: int) -> list[int]:
    """Which detections a picture should show: the best `most` that score at least `least`, without the nearly equal.

    Proposals come in bundles, and similar names are found in one place; of boxes that overlap by more than `BUNDLE`
    (IoU) the best stands for all.

    Returns:
        indices by descending score.
    """
    found: list[int] = []
    for index in np.argsort(-np.asarray(scores), kind="stable").tolist():
        if scores[index] < least or len(found) == most:
            break
        if all(iou(tuple(boxes[index]), tuple(boxes[other])) <= BUNDLE for other in found):
            found.append(index)
    return found


def colour_of(name: str) -> Colour:
    """The colour of a name, bright and the same in every picture and every run."""
    digest = zlib.crc32(name.encode())
    hue, tone = digest % 360 / 360, digest // 360 % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.9, 0.65, 1.0)[tone], (1.0, 1.0, 0.8)[tone])
    return round(red * 255), round(green * 255), round(blue * 255)


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, in letters of `size` pixels."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))  # a bitmap only where Pillow has no FreeType


def inside(box: np.ndarray, size: tuple[int, int], margin: float) -> Box:
    """A box (4,), set right where it is inverted and moved so that its line is inside a picture of `size` (w, h)."""
    x = np.clip(np.sort(box[0::2]), margin, size[0] - 1 - margin)
    y = np.clip(np.sort(box[1::2]), margin, size[1] - 1 - margin)
    return float(x[0]), float(y[0]), float(x[1]), float(y[1])


def area(box: Box) -> float:
    """Square pixels of a box x1, y1, x2, y2."""
    return (box[2] - box[0]) * (box[3] - box[1])


def frame(canvas: ImageDraw.ImageDraw, box: Box, colour: Colour, width: int) -> None:
    """A frame whose line is centred on the box's edge."""
    half = width / 2
    x1, y1, x2, y2 = box
    canvas.rectangle((x1 - half, y1 - half, x2 + half - 1, y2 + half - 1), outline=colour, width=width)


def dashed_frame(canvas: ImageDraw.ImageDraw, box: Box, colour: Colour, width: int, dash: float) -> None:
    """Dashes of `dash` pixels on a solid dark frame."""
    frame(canvas, box, DARK, width + 2)
    x1, y1, x2, y2 = box
    corners = [np.array(corner) for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))]
    for start, end in itertools.pairwise(corners):
        length = max(float(np.abs(end - start).sum()), 1.0)
        for offset in np.arange(0.0, length, 1.5 * dash):
            dash_start = start + (end - start) * (offset / length)
            dash_end = start + (end - start) * (min(offset + dash, length) / length)
            canvas.line((*dash_start, *dash_end), colour, width)


@dataclass
class Labels:
    """The labels of one picture.

    Attributes:
        size: width and height of the picture.
        font: of all labels.
        boxes: what labels should hide as little of as they can.
        taken: the places of the labels so far.
    """

    size: tuple[int, int]
    font: ImageFont.FreeTypeFont
    boxes: list[Box] = field(default_factory=list)
    taken: list[Box] = field(default_factory=list)

    def write(self, canvas: ImageDraw.ImageDraw, box: Box, text: str, colour: Colour) -> None:
        """Writes `text` on a ground of `colour` at an edge of `box`, unless there is no free place."""
        ascent, descent = self.font.getmetrics()
        pad = max(round(self.font.size / 6), 2)
        width, height = round(self.font.getlength(text)) + 2 * pad, ascent + descent + pad // 2
        place = self._place(box, width, height)
        if place is None:
            return
        canvas.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=colour)
        ink = DARK if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 110 else TRUTH
        canvas.text((place[0] + pad, place[1] + pad // 2), text, ink, self.font)
        self.taken.append(place)

    def _place(self, box: Box, width: int, height: int) -> Box | None:
        """The first of the free places at the box's edges that hides the least."""
        x1, y1, x2, y2 = (round(edge) for edge in box)
        best, least = None, np.inf
        for y, share in itertools.product((y1 - height, y1, y2, y2 - height), (0.0, 1.0, 0.5, 0.25, 0.75)):
            left = round(x1 + share * (x2 - x1 - width)) if x2 - x1 > width else x1 if share < 1 else x2 - width
            left = min(max(left, 0), self.size[0] - width)
            upper = min(max(y, 0), self.size[1] - height)
            place = (left, upper, left + width, upper + height)
            if left < 0 or upper < 0 or any(overlap(place, other) for other in self.taken):
                continue
            # Outside the image is no place at the box: moved back inside, a label may hide the box that it names.
            hidden = sum(overlap(place, other) / max(area(other), 1.0) for other in self.boxes)
            if hidden < least - 0.02:
                best, least = place, hidden
        return best


def overlap(one: Box, other: Box) -> float:
    """The common area of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def iou(one: Box, other: Box) -> float:
    """Intersection over union."""
    common = overlap(one, other)
    return common / max(area(one) + area(other) - common, 1e-9)


def _enlarged(image: np.ndarray) -> tuple[Image.Image, float]:
    """The image as a picture that has room for letters, and how many times larger it is."""
    height, width = image.shape[:2]
    scale = max(SMALLEST_SIDE / max(height, width), 1.0)
    picture = Image.fromarray(image)
    if scale > 1:
        picture = picture.resize(
            (max(round(width * scale), 1), max(round(height * scale), 1)), Image.Resampling.LANCZOS
        )
    return picture, scale
