"""Keeps a stage 1's predictions as proposals: ``type='ProposalFile'`` with folder, model, about, first and boxes."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data_server.datasets.parts import Datasets
from data_server.datasets.proposals import names_of
from data_server.files.proposal_file import Writer
from data_server.handover.predictions import Record
from data_server.workers.metrics import arrays_of
from shared.errors import UserError
from shared.files import reported

TYPES = ("ProposalFile",)
_REMEDY = "free some space, or choose another proposal_dir"
_BYTES_OF_BOX = 20  # see `data_server.files.proposal_file`


def evaluate(datasets: Datasets, order: dict[str, Any], predictions: list[Record]) -> dict[str, Any]:
    """Adds a trainer's predictions to the file of a stream's data set.

    Where a bad image was replaced by the next (``feed.on_bad_sample``), it gets no proposals.

    Args:
        datasets: one data set, unfiltered, in its own order.
        order: `folder` and fingerprint `model`; `first`, the index of the first image that is predicted; `boxes`, the
            most in an image.

    Returns:
        ``images_done``, of the file so far; asked without predictions, that is where to continue.

    Raises:
        UserError: the predictions are of more images than there are, or the file cannot be written; without
            predictions, there is no room for those that are to come.
    """
    writer = _writer(datasets, str(order["folder"]), str(order["model"]), str(order["about"]))
    first = int(order["first"])
    with reported(writer.path, _REMEDY):
        if not predictions:
            _check_room(writer.path, len(datasets) - writer.done, int(order["boxes"]))
        for arrays in map(arrays_of, predictions):
            last = first + len(arrays["counts"])
            if last > len(datasets):
                raise UserError(f"proposals of {last} images for {writer.path}; the data set has {len(datasets)}")
            own = arrays["image_ids"] == datasets.image_ids[first:last]
            rows = np.column_stack([arrays["boxes"], arrays["scores"]])
            writer.append(first, np.where(own, arrays["counts"], 0), rows[np.repeat(own, arrays["counts"])])
            first = last
        writer.finish()  # also what a kill has kept from its end
    return {"images_done": float(writer.done)}


def _check_room(path: Path, images: int, boxes: int) -> None:
    folder = next(place for place in path.absolute().parents if place.is_dir())
    needed, free = images * boxes * _BYTES_OF_BOX, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"proposals of {images} images, up to {boxes} boxes in each, may take {needed >> 20} MiB in {folder}, "
            f"where {free >> 20} MiB are free; {_REMEDY}"
        )


@lru_cache(1)
def _writer(datasets: Datasets, folder: str, model: str, about: str) -> Writer:
    """The same from call to call, so that the names of all images are read once."""
    (part,) = datasets.parts
    title = Path(part.annotation_file).stem if part.annotation_file else type(part.dataset).__name__
    return Writer(Path(folder), title, names_of(part.dataset), model, about)
