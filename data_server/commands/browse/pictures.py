"""Pictures of a split: as their files are, and as the trainer gets them.

place ──────► the pipeline's first step, which loads ──► small enough for a list ──► JPEG
index, seed ► the whole pipeline, as a worker runs it ──► every pixel as it is ────► PNG, and its boxes
                                                     └──► small enough for a file ─► JPEG, and its boxes
"""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np

from data_server.commands.browse.catalogue import Catalogue
from data_server.datasets import pictures
from data_server.datasets.samples import BadSample, load
from shared.errors import UserError
from shared.regular import unfit

_QUALITY = 85
_FASTEST = 1  # zlib's
AGNOSTIC = "object"  # the one class of a data set that is class_agnostic


def as_it_is(catalogue: Catalogue, place: int) -> np.ndarray:
    """An image as its pipeline loads it, u8 (h,w,3) BGR.

    Raises:
        BadSample: it cannot be read.
        UserError: it is none of bytes.
    """
    part, row = catalogue.at(place)
    path = part.image_path(row)
    if fault := unfit(path):
        raise BadSample(f"image {path!r}: {fault}")
    try:
        image = pictures.decoded(part, row)
    except Exception as error:
        raise BadSample(f"image {path!r}: {pictures.reason(path, error)}") from None
    return pictures.as_carried(image, {}, part, row)


def jpeg(catalogue: Catalogue, place: int, edge: int) -> bytes:
    """An image as its file is, its longer side at most `edge` pixels; raises as `as_it_is` does."""
    return _small(as_it_is(catalogue, place), edge)


def _small(image: np.ndarray, edge: int) -> bytes:
    scale = edge / max(image.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return _encoded(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def sample(catalogue: Catalogue, index: int, seed: int, switched: bool, edge: int | None = None) -> dict[str, Any]:
    """What a worker makes of image `index` of the stream by `seed`; boxes as `Catalogue.entry` has them, in pixels of
    the picture, and ``names`` by label.

    Args:
        switched: by the pipeline of the last epochs.
        edge: of a picture that only looks like it, at most so many pixels long; None: every pixel as it is.

    Raises:
        BadSample: the image cannot be used.
        UserError: there is no such image, or the pipeline yields no picture of bytes.
    """
    if index not in range(len(catalogue.datasets)):
        raise UserError(f"image {index} of the stream: expected 0 to {len(catalogue.datasets) - 1}")
    with catalogue.pipeline:
        catalogue.datasets.switch(switched)
        made = load(catalogue.datasets, index, seed)
        part = catalogue.parts[made.dataset_id]
        row = part.in_hand
    if edge is None:
        kind, data = "png", _encoded(".png", made.image, [cv2.IMWRITE_PNG_COMPRESSION, _FASTEST])
    else:
        kind, data = "jpeg", _small(made.image, edge)
    rows = zip(made.boxes.tolist(), made.labels.tolist(), made.ignored.tolist(), strict=True)
    return {
        "picture": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
        "height": made.image.shape[0],
        "width": made.image.shape[1],
        "file": part.image_path(row),
        "place": int(catalogue.starts[made.dataset_id]) + row,
        "source": made.dataset_id,
        "flipped": made.flipped != 0,
        "names": [AGNOSTIC] if part.class_agnostic else part.classes,
        "boxes": [[*box, label, ignored] for box, label, ignored in rows],
    }


def _encoded(kind: str, image: np.ndarray, options: list[int]) -> bytes:
    return cv2.imencode(kind, image, options)[1].tobytes()
