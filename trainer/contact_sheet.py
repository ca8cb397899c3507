"""A contact sheet: one PNG with several pictures, their ground truth and the best proposals, to be judged by eye.

    +---------------------------------------------------+
    | legend: ground truth, proposals from best to 10th |
    +------------+------------+------------+------------+
    | title      | title      | title      | title      |
    | picture    | picture    | picture    | picture    |
    +------------+------------+------------+------------+
    | ...                                               |

Every picture is scaled so that its longer side is 360 pixels; lines and letters are drawn after that, so they look the
same everywhere. Proposals are drawn from worst to best and the dashed ground truth last: what matters lies on top.
"""

import itertools
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 360
GAP = 8
LINE = 18
BACKGROUND = (24, 24, 27)
TEXT = (235, 235, 235)
GREEN = (60, 220, 90)
BEST, WORST = (255, 40, 30), (255, 225, 120)
DASH = 9
LABEL_FONT, TITLE_FONT = ImageFont.load_default(11), ImageFont.load_default(13)

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]


def draw(
    path: str | os.PathLike,
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[tuple[np.ndarray, np.ndarray]],
    titles: Sequence[str],
    columns: int = 4,
    top: int = 10,
) -> None:
    """Writes the sheet to `path` (PNG).

    Args:
        images: (H, W, 3) uint8, RGB, each of its own size.
        truths: per image (n, 4) boxes x1, y1, x2, y2 in its pixels.
        predictions: per image boxes (m, 4) and scores (m,), in any order.
        titles: per image, cut to the picture's width.
        columns: pictures in a row.
        top: how many of the best-scored proposals are drawn.
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
    sheet.save(path, format="PNG")


def _tile(
    image: np.ndarray, truth: np.ndarray, boxes: np.ndarray, scores: np.ndarray, title: str, top: int
) -> Image.Image:
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    canvas = ImageDraw.Draw(picture)

    def placed(box: np.ndarray) -> Box:
        """In the picture's pixels, with the line's width kept inside the border."""
        return tuple(np.clip(box * scale, 2, (size[0] - 3, size[1] - 3) * 2))

    order = np.argsort(-scores, kind="stable")[:top]
    proposals = [(placed(boxes[i]), _warm(rank, top), float(scores[i])) for rank, i in enumerate(order)]
    for box, colour, _ in reversed(proposals):
        _rectangle(canvas, box, (0, 0, 0), 4)  # a dark edge keeps warm lines visible on warm pictures
        _rectangle(canvas, box, colour, 2)
    for box in truth:
        _dashed_rectangle(canvas, placed(box))
    taken: list[Box] = []
    for box, colour, score in proposals:
        _label(canvas, box, f"{score:.2f}", colour, size, taken)

    tile = Image.new("RGB", (SIDE, LINE + picture.height), BACKGROUND)
    ImageDraw.Draw(tile).text((0, 1), _shorten(title, SIDE), TEXT, TITLE_FONT)
    tile.paste(picture, (0, LINE))
    return tile


def _warm(rank: int, top: int) -> Colour:
    share = rank / max(top - 1, 1)
    return tuple(round(best + (worst - best) * share) for best, worst in zip(BEST, WORST, strict=True))


def _rectangle(canvas: ImageDraw.ImageDraw, box: Box, colour: Colour, width: int) -> None:
    """A frame whose line is centred on the box's edge; inverted boxes, which raw proposals can be, are set right."""
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    half = width / 2
    canvas.rectangle((x1 - half, y1 - half, x2 + half - 1, y2 + half - 1), outline=colour, width=width)


def _dashed_rectangle(canvas: ImageDraw.ImageDraw, box: Box) -> None:
    """Green dashes on a solid black frame."""
    _rectangle(canvas, box, (0, 0, 0), 5)
    x1, y1, x2, y2 = box
    corners = [np.array(corner) for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))]
    for start, end in itertools.pairwise(corners):
        length = max(float(np.abs(end - start).sum()), 1.0)
        for offset in np.arange(0.0, length, 1.5 * DASH):
            dash_start = start + (end - start) * (offset / length)
            dash_end = start + (end - start) * (min(offset + DASH, length) / length)
            canvas.line((*dash_start, *dash_end), GREEN, 3)


def _label(
    canvas: ImageDraw.ImageDraw,
    box: Box,
    text: str,
    colour: Colour,
    size: tuple[int, int],
    taken: list[Box],
) -> None:
    """Writes `text` at the corner of `box` where it covers no earlier label (`taken`), or nowhere."""
    width, height = LABEL_FONT.getlength(text) + 4, 13
    x1, y1, x2, y2 = box
    for x, y in ((x1, y1), (x2 - width, y1), (x1, y2 - height), (x2 - width, y2 - height), (x1, y1 - height), (x1, y2)):
        x, y = min(max(x, 0), size[0] - width), min(max(y, 0), size[1] - height)
        place = (x, y, x + width, y + height)
        if all(place[0] >= t[2] or place[2] <= t[0] or place[1] >= t[3] or place[3] <= t[1] for t in taken):
            canvas.rectangle(place, fill=colour)
            canvas.text((x + 2, y), text, (0, 0, 0), LABEL_FONT)
            taken.append(place)
            return


def _legend(top: int) -> Image.Image:
    entries = [("ground truth", None), ("best proposal", _warm(0, top)), (f"proposal {top}", _warm(top - 1, top))]
    legend = Image.new(
        "RGB", (round(sum(TITLE_FONT.getlength(text) + 60 for text, _ in entries)), LINE + 4), BACKGROUND
    )
    canvas = ImageDraw.Draw(legend)
    x = 3.0
    for text, colour in entries:
        box = (x, 4, x + 28, LINE)
        if colour is None:
            _dashed_rectangle(canvas, box)
        else:
            _rectangle(canvas, box, colour, 2)
        canvas.text((x + 36, 3), text, TEXT, TITLE_FONT)
        x += TITLE_FONT.getlength(text) + 60
    return legend


def _shorten(text: str, width: int) -> str:
    if TITLE_FONT.getlength(text) <= width:
        return text
    while text and TITLE_FONT.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
