"""Whether a file is whole, by the kind of file that its name says it is."""

from __future__ import annotations

import ast
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import numpy as safetensors


def damage(path: Path, killed: bool) -> str | None:
    """What is wrong with a file; None where it is whole.

    Args:
        killed: whether a line of a log may be cut short at its end.
    """
    for fits, check in KINDS:
        if fits(path):
            try:
                check(path, killed)
            except Exception as error:  # whatever a damaged file leads to
                return f"{path}, {path.stat().st_size} bytes: {type(error).__name__}: {error}"
            return None
    return f"{path}: no check for this kind of file"


def _json(path: Path, _: bool) -> None:
    json.loads(path.read_bytes())


def _lines(path: Path, killed: bool) -> None:
    *lines, last = path.read_bytes().split(b"\n")
    for line in lines:
        json.loads(line)
    if last and not killed:
        raise ValueError(f"its last line is cut short: {last[:40]!r}")


def _python(path: Path, _: bool) -> None:
    if not ast.parse(path.read_bytes()).body:
        raise ValueError("empty")


def _picture(path: Path, _: bool) -> None:
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()


def _pickle(path: Path, _: bool) -> None:
    with path.open("rb") as file:
        pickle.load(file)


def _archive(path: Path, _: bool) -> None:
    with zipfile.ZipFile(path) as file:
        if file.testzip() is not None:
            raise ValueError("a damaged member")


def _page(path: Path, _: bool) -> None:
    if not path.read_text().rstrip().endswith("</html>"):
        raise ValueError("cut short")


def _pointer(path: Path, _: bool) -> None:
    target = path.parent / path.read_text()
    if not path.read_text() or not target.is_file():
        raise ValueError(f"names {target}, which is not there")


def _text(path: Path, _: bool) -> None:
    if not path.read_text().endswith("\n"):
        raise ValueError("cut short")


def _events(path: Path, killed: bool) -> None:
    """TFRecords: length, checksum, data, checksum. TensorBoard stops reading at the first that is torn, so only the
    last may be."""
    content, at = path.read_bytes(), 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content.ljust(at + 8, b"\0"), at)
        at += 8 + 4 + length + 4
    if at > len(content) and not killed:
        raise ValueError("its last event is cut short")


def _grows(_: Path, __: bool) -> None:
    """Whoever writes it goes on from whatever is there."""


KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path, bool], object]], ...] = (
    (lambda path: path.name == "last_checkpoint", _pointer),
    (lambda path: path.name in (".fingerprint",) or path.suffix == ".txt", _text),
    (lambda path: "tfevents" in path.name, _events),
    (lambda path: path.suffix == ".json", _json),
    (lambda path: path.suffix == ".jsonl", _lines),
    (lambda path: path.suffix == ".py", _python),
    (lambda path: path.suffix in (".png", ".jpg"), _picture),
    (lambda path: path.suffix == ".pkl", _pickle),
    (lambda path: path.suffix in (".npz", ".pth"), _archive),
    (lambda path: path.suffix == ".npy", lambda path, _: np.load(path)),
    (lambda path: path.suffix == ".safetensors", lambda path, _: safetensors.load(path.read_bytes())),
    (lambda path: path.suffix == ".html", _page),
    (lambda path: path.suffix == ".growing", _grows),
)
