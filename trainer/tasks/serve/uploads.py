"""What a request asks: a picture's file, names or a vocabulary, a threshold.

    multipart/form-data    image (a file), names (once for each name), vocabulary, score_threshold
    application/json       image (base64, a data: URL too), the same, names as a list, file_name

A picture is looked at before anybody waits for it: its kind and its size are in its first bytes, so one that would
unfold to gigabytes is refused without being decoded.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from dataclasses import dataclass
from typing import Any

from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from shared import json_text
from shared.keys import nearest
from trainer.tasks.serve.words import MOST_NAMES

MOST_PIXELS = 64_000_000
KINDS = ("JPEG", "PNG", "WEBP", "BMP")
_KEYS = ("image", "names", "vocabulary", "score_threshold", "file_name")


@dataclass(frozen=True)
class Asked:
    """A request that is in order.

    Attributes:
        content: the picture's file, of one of KINDS, with at most MOST_PIXELS pixels.
        names: None: the vocabulary's.
        vocabulary: None: the default.
    """

    content: bytes
    title: str
    names: list[str] | None
    vocabulary: str | None
    threshold: float


async def read(request: Request) -> Asked:
    """What `request` asks.

    Raises:
        HTTPException: 400, 413, 415 or 422, with a line that says what was expected.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        values = await _form(request)
    elif kind == "application/json":
        values = _json(await request.body())
    else:
        raise HTTPException(415, f"content-type {kind!r}: expected multipart/form-data or application/json")
    for key in values:
        if key not in _KEYS:
            raise HTTPException(422, f"unknown field {key[:40]!r}{nearest(key, _KEYS)}; known: {', '.join(_KEYS)}")
    content, names, vocabulary = values.get("image"), values.get("names"), values.get("vocabulary")
    title = values.get("file_name", "image")
    if not isinstance(content, bytes) or not content:
        raise HTTPException(422, "image: expected the file of a picture, and there is none")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise HTTPException(422, "names: expected a list of texts")
    if vocabulary is not None and not isinstance(vocabulary, str):
        raise HTTPException(422, "vocabulary: expected a text, the name of a vocabulary")
    if not isinstance(title, str):
        raise HTTPException(422, "file_name: expected a text")
    if names and vocabulary:
        raise HTTPException(422, "names and vocabulary: expected one of them")
    threshold = _threshold(values.get("score_threshold", 0.0))
    _look_at(content)
    return Asked(content, title, names or None, vocabulary or None, threshold)


async def _form(request: Request) -> dict[str, Any]:
    async with request.form(max_files=1, max_fields=MOST_NAMES + len(_KEYS)) as form:
        values: dict[str, Any] = {}
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                values["file_name"] = value.filename or "image"
                values[key] = await value.read()
            elif key == "names":
                values.setdefault(key, []).append(value)
            else:
                values[key] = value
    return values


def _json(body: bytes) -> dict[str, Any]:
    try:
        values = json_text.parse(body)
    except ValueError as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise HTTPException(422, "the body: expected a JSON object")
    image = values.get("image")
    if isinstance(image, str):
        text = image.partition(",")[2] if image.startswith("data:") else image
        try:
            values["image"] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise HTTPException(422, "image: expected a picture's file in base64") from None
    return values


def _threshold(value: Any) -> float:
    try:
        threshold = float(value)
    except (TypeError, ValueError, OverflowError):
        threshold = math.nan
    if not math.isfinite(threshold):
        raise HTTPException(422, f"score_threshold: expected a number, found {str(value)[:40]!r}")
    return threshold


def _look_at(content: bytes) -> None:
    """Refuses what is no picture, is of another kind, or has too many pixels."""
    try:
        with Image.open(io.BytesIO(content), formats=KINDS) as picture:
            width, height = picture.size
    except Image.DecompressionBombError:
        raise HTTPException(413, _too_many("more than Pillow opens")) from None
    except Exception:  # whatever a decoder makes of a damaged file
        raise HTTPException(415, f"image: not a picture that can be read; expected {', '.join(KINDS)}") from None
    if width * height > MOST_PIXELS:
        raise HTTPException(413, _too_many(f"{width}x{height} pixels"))


def _too_many(found: str) -> str:
    return f"image: {found}; at most {MOST_PIXELS // 10**6} million pixels are taken, make it smaller"
