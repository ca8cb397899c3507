"""Requests that are wrong, each in its own way."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib

from PIL import Image

from tests.trainer.tasks.serve.served import multipart


def png(width: int, height: int) -> bytes:
    """A PNG that says to have so many pixels, and is a few bytes long."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))


def wrong_requests(photo: bytes) -> list[tuple[int, str, bytes, str]]:
    """(status, words of the answer, body, content-type)."""
    image = base64.b64encode(photo).decode()
    gif = io.BytesIO()
    Image.new("RGB", (8, 8)).save(gif, format="GIF")

    def form(*fields):
        return multipart([("image", ("a.jpg", photo)), *fields])

    def words(**values):
        return json.dumps({"image": image, **values}).encode(), "application/json"

    return [
        (415, "expected multipart/form-data", b"x", "text/plain"),
        (400, "", b"no form", "multipart/form-data; boundary=x"),
        (400, "", b"no form", "multipart/form-data"),
        (400, "no JSON", b"{", "application/json"),
        (400, "no JSON", b"[" * 100_000, "application/json"),
        (400, "no JSON", b"\xff\xfe", "application/json"),
        (422, "expected a JSON object", b"[]", "application/json"),
        (422, "image: expected", b"{}", "application/json"),
        (422, "base64", b'{"image": "?"}', "application/json"),
        (422, "image: expected", b'{"image": 3}', "application/json"),
        (422, "a list of texts", *words(names="cat")),
        (422, "a list of texts", *words(names=[3])),
        (422, "unknown field 'name' (did you mean 'names'?)", *words(name="cat")),
        (422, "expected a number", *words(score_threshold="high")),
        (422, "expected a number", *words(score_threshold=float("nan"))),
        (422, "there is no 'coco'", *words(vocabulary="coco")),
        (422, "expected one of them", *words(vocabulary="more", names=["cat"])),
        (422, "at most 256", *words(names=[f"name {number}" for number in range(257)])),
        (422, "empty or longer than 100", *words(names=["x" * 101])),
        (422, "empty or longer than 100", *words(names=[" "])),
        (422, "there is none", *multipart([("names", "cat")])),
        (400, "", *form(("image", ("b.jpg", photo)))),
        (415, "expected JPEG, PNG, WEBP, BMP", *multipart([("image", ("a.jpg", b"no picture"))])),
        (415, "expected JPEG, PNG, WEBP, BMP", *multipart([("image", ("a.gif", gif.getvalue()))])),
        (413, "9000x9000 pixels; at most 64 million", *multipart([("image", ("a.png", png(9000, 9000)))])),
        (413, "at most 64 million", *multipart([("image", ("a.png", png(2**30, 2**30)))])),
        (422, "truncated or damaged", *multipart([("image", ("a.jpg", photo[: len(photo) // 2]))])),
    ]
