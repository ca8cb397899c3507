"""The pictures of a data set: decoded by its own pipeline, and turned into the bytes of a batch.

Bytes stay as they are. Floats of 0..255, which `LoadImageFromFile(to_float32=True)` and `PhotoMetricDistortion` make,
are rounded, unless ``feed.image_dtype`` is float32 (`shared.pictures.colours`); floats that are something else, such as
normalised ones, are refused.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from data_server.files.image import damage, kind
from shared import source
from shared.errors import UserError, described
from shared.pictures import colours, ends_early

if TYPE_CHECKING:
    from data_server.datasets.part import Part

_BRIGHTEST = 4 * 255  # of colours that a distortion has made brighter; those of 16 bits are far beyond
_DARK = 8.0  # colours of a picture that is black to the eye, or that has been scaled
_UNREAD = "failed to load image"  # MMCV's words for what OpenCV gives nothing for


def decoded(part: Part, index: int) -> np.ndarray:
    """Image `index` as the pipeline loads it, before anything is done to it. Raises what the pipeline raises."""
    results = copy.deepcopy(part.dataset.get_data_info(index))
    pipeline = part.dataset.pipeline
    for transform in getattr(pipeline, "transforms", pipeline):
        results = transform(results)
        if results.get("img") is not None:
            break
    image: np.ndarray = results["img"]
    return image


def by_backend(part: Part) -> bool:
    """Whether the pipeline reads files by another backend than that of this machine's, for which a path is a key."""
    return any(source.has_backend(getattr(one, "backend_args", None)) for one in part.transforms)


def reason(path: str, error: Exception) -> str:
    """Why a pipeline that ended in `error` cannot use a file."""
    fails = f"the pipeline fails on it: {described(error)}"
    if source.size(path) is None:
        if isinstance(error, FileNotFoundError):
            return "no such file"
        return fails if "://" in path else f"no such file; {fails}"
    if fault := damage(path):
        return fault
    if _UNREAD in str(error) and (format := kind(path)):
        return f"a {format} that the pipeline's LoadImageFromFile does not read; convert it to PNG or JPEG"
    return fails


def fault(path: str | None) -> str | None:
    """What is wrong with a file that was decoded without an error: a JPEG that is cut short. None: nothing, or the
    picture is from no file of this machine."""
    if path is None:
        return None
    try:
        with source.opened(path) as file:
            return ends_early(file)
    except OSError:
        return None


def as_carried(image: np.ndarray, results: dict[str, Any], part: Part, index: int, dtype: str = "uint8") -> np.ndarray:
    """A picture as u8 or f32 (h,w,3).

    Args:
        image: what the pipeline yields.
        results: all that it yields.
        part, index: whose it is.
        dtype: ``feed.image_dtype``.

    Raises:
        UserError: it is none, or its numbers are not colours of 0..255.
    """
    if "img_norm_cfg" in results:
        raise UserError(
            "the pipeline has a Normalize; expected colours of 0..255: take it out and set mean and std of "
            "model.data_preprocessor"
        )
    if image.dtype.kind == "f":
        least, most, mean = float(image.min()), float(image.max()), float(image.mean())
        if not (least >= -_BRIGHTEST and most <= _BRIGHTEST) or (
            (mean < 0 or most <= _DARK) and not _is_dark(decoded(part, index))
        ):
            raise UserError(
                f"the pipeline yields floats from {least:g} to {most:g}; expected colours of 0..255: take the "
                "transform that scales or normalises out of it and set mean and std of model.data_preprocessor"
            )
    try:
        return colours(image, dtype)
    except UserError as error:
        raise UserError(f"the pipeline yields {error}") from None


def _is_dark(image: np.ndarray) -> bool:
    """Whether a picture as it was loaded is a dark one of whole colours."""
    return bool(image.mean() < 4 * _DARK and (image == np.rint(image)).all())
