"""A contact sheet: one PNG with several pictures, their ground truth and the best detections, to be judged by eye.

    +---------------------------------------------------+
    | legend: ground truth, detections, best to 10th    |
    +------------+------------+------------+------------+
    | title      | title      | title      | title      |
    | picture    | picture    | picture    | picture    |
    +------------+------------+------------+------------+
    | ...                                               |

Every picture is scaled so that its longer side is 360 pixels; lines and letters are drawn after that, so they look the
same everywhere. Proposals are drawn from worst to best and the dashed ground truth last: what matters lies on top.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from shared.files import save
from trainer.reporting.drawing import DARK, Box, Colour, Labels, dashed_frame, font_of, frame, inside
from trainer.reporting.png import COMPRESS_LEVEL

SIDE = 360
GAP = 8
LINE = 18
BACKGROUND = (24, 24, 27)
TEXT = (235, 235, 235)
GREEN = (60, 220, 90)
BEST, WORST = (255, 40, 30), (255, 225, 120)
DASH = 9
LABEL_FONT, TITLE_FONT = font_of(11), font_of(13)


def draw(
    path: str | os.PathLike,
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[tuple[np.ndarray, np.ndarray]],
    titles: Sequence[str],
    columns: int = 4,
    top: int = 10,
) -> bytes:
    """Writes the sheet to `path` (PNG); returns what was written.

    Args:
        images: (H, W, 3) uint8, RGB, each of its own size.
        truths: per image (n, 4) boxes x1, y1, x2, y2 in its pixels.
        predictions: per image boxes (m, 4) and scores (m,), in any order.
        titles: per image, cut to the picture's width.
        columns: pictures in a row.
        top: how many of the best-scored detections are drawn.

    Raises:
        UserError: it cannot be written.
    """
    tiles = [
        _tile(image, truth, *prediction, title, top)
        for image, truth, prediction, title in zip(images, truths, predictions, titles, strict=True)
    ]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    legend = _legend(top)
    columns = min(columns, len(tiles))
    width = max(legend.width, columns * SIDE + (columns - 1) * GAP) + 2 * GAP
    height = legend.height + GAP + sum(max(tile.height for tile in row) + GAP for row in rows)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    sheet.paste(legend, (GAP, GAP))
    y = legend.height + GAP
    for row in rows:
        for column, tile in enumerate(row):
            sheet.paste(tile, (GAP + column * (SIDE + GAP), y))
        y += max(tile.height for tile in row) + GAP
    content = io.BytesIO()
    sheet.save(content, format="PNG", compress_level=COMPRESS_LEVEL)
    save(Path(path), content.getvalue())
    return content.getvalue()


def _tile(
    image: np.ndarray, truth: np.ndarray, boxes: np.ndarray, scores: np.ndarray, title: str, top: int
) -> Image.Image:
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    canvas = ImageDraw.Draw(picture)

    def placed(box: np.ndarray) -> Box:
        return inside(box * scale, size, 2)

    order = np.argsort(-scores, kind="stable")[:top]
    detections = [(placed(boxes[i]), _warm(rank, top), float(scores[i])) for rank, i in enumerate(order)]
    for box, colour, _ in reversed(detections):
        frame(canvas, box, DARK, 4)  # a dark edge keeps warm lines visible on warm pictures
        frame(canvas, box, colour, 2)
    for box in truth:
        dashed_frame(canvas, placed(box), GREEN, 3, DASH)
    labels = Labels(size, LABEL_FONT)
    for box, colour, score in detections:
        labels.write(canvas, box, f"{score:.2f}", colour)

    tile = Image.new("RGB", (SIDE, LINE + picture.height), BACKGROUND)
    ImageDraw.Draw(tile).text((0, 1), _shorten(title, SIDE), TEXT, TITLE_FONT)
    tile.paste(picture, (0, LINE))
    return tile


def _warm(rank: int, top: int) -> Colour:
    share = rank / max(top - 1, 1)
    red, green, blue = (round(best + (worst - best) * share) for best, worst in zip(BEST, WORST, strict=True))
    return red, green, blue


def _legend(top: int) -> Image.Image:
    entries = [("ground truth", None), ("best detection", _warm(0, top)), (f"detection {top}", _warm(top - 1, top))]
    legend = Image.new(
        "RGB", (round(sum(TITLE_FONT.getlength(text) + 60 for text, _ in entries)), LINE + 4), BACKGROUND
    )
    canvas = ImageDraw.Draw(legend)
    x = 3.0
    for text, colour in entries:
        box = (x, 4, x + 28, LINE)
        if colour is None:
            dashed_frame(canvas, box, GREEN, 3, DASH)
        else:
            frame(canvas, box, colour, 2)
        canvas.text((x + 36, 3), text, TEXT, TITLE_FONT)
        x += TITLE_FONT.getlength(text) + 60
    return legend


def _shorten(text: str, width: int) -> str:
    if TITLE_FONT.getlength(text) <= width:
        return text
    while text and TITLE_FONT.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
