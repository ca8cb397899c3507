"""The data of probability calibration: how often a first, uncalibrated pass detected each class.

    detections of a first pass ─► n_c ─► Calibration ─► one .json file ─► w_c = n_c^-gamma / mean over classes

The prior belongs to one vocabulary on one set of images. So the file holds the vocabulary it was counted with: the
names, in their order, and a digest of their text embeddings. Calibrating another vocabulary with it would only
rearrange the scores, without a sign that anything is wrong; it is refused.

UniDetector section 3.3.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared import files, json_text
from shared.errors import UserError

FORMAT = "unidetector calibration 1"
CALIBRATION_FILE = "calibration.json"  # in the work dir of the run that made it
GAMMA = 0.6  # the authors' choice
_MOST = 10  # of a gamma: with more, float32 has no room for the weights


@dataclass(frozen=True)
class Calibration:
    """Counts of C classes.

    Attributes:
        names: C names, in the order of the vocabulary.
        embeddings: digest of the vocabulary's text embeddings, see `digest`.
        gamma: strength of the calibration.
        counts: n_c, how many detections of each class the first pass gave.
        images: how many images it looked at.
    """

    names: list[str]
    embeddings: str
    gamma: float
    counts: list[int]
    images: int

    def weights(self, gamma: float | None, least_count: float) -> np.ndarray:
        """w_c, f32 (C,); see `weights`. `gamma` takes the place of the file's own."""
        return weights(np.array(self.counts, np.float64), self.gamma if gamma is None else gamma, least_count)


def weights(counts: np.ndarray, gamma: float, least_count: float) -> np.ndarray:
    """w_c = n_c^-gamma / mean, f32 (C,), mean 1, from n_c (C,).

    Args:
        least_count: what a smaller n_c counts as. With 0, the original's formula, a class that was never detected
            makes all weights 0 (the original: NaN for that class, 0 for the others; no score passes a threshold
            either way).
    """
    counts = np.maximum(counts, least_count)
    if not counts.all():
        return np.zeros(len(counts), np.float32)
    prior = np.power(counts, -float(gamma)).astype(np.float32)
    return prior / prior.mean()


def digest(embeddings: np.ndarray) -> str:
    """Of text embeddings (C,D), whatever float type they were stored in: 32 hexadecimal digits."""
    return hashlib.blake2b(np.ascontiguousarray(embeddings, "<f4").tobytes(), digest_size=16).hexdigest()


def save(path: Path, calibration: Calibration) -> None:
    """Writes the file as a whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    text = json.dumps({"format": FORMAT, **asdict(calibration)}, indent=1, ensure_ascii=False)
    files.save(path, text.encode())


def load(path: str, embeddings: np.ndarray, where: str) -> Calibration:
    """Reads a file that `save` wrote, for a vocabulary with these `embeddings` (C,D).

    Args:
        where: the key that names the file, for messages.

    Raises:
        UserError: no such file, it holds something else, or it was counted with another vocabulary.
    """
    remedy = "python -m trainer calibrate --config C writes one"
    try:
        content = json_text.parse(Path(path).read_text(encoding="utf-8-sig"), unique=True)
        if content.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        found = Calibration(**content)
        names, counts = found.names, found.counts
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("its names should be a list of texts")
        if not isinstance(counts, list) or len(counts) != len(names) or not all(map(_is_count, counts)):
            raise ValueError("its counts should be one count, 0 or more, for each name")
        if not _is_count(found.images):
            raise ValueError("its images should be a number, 0 or more")
        if isinstance(found.gamma, bool) or not isinstance(found.gamma, int | float) or not 0 <= found.gamma <= _MOST:
            raise ValueError(f"its gamma is {repr(found.gamma)[:40]}, expected a number from 0 to {_MOST}")
    except OSError as error:
        raise UserError(f"{where}: cannot read {path!r}: {error.strerror}; {remedy}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: {path!r} is no calibration ({error}); {remedy}") from None
    if found.embeddings != digest(embeddings):
        raise UserError(
            f"{where}: {path} was made for another vocabulary: {len(found.names)} names, {found.names[0]!r} to "
            f"{found.names[-1]!r}, with other embeddings than the {len(embeddings)} of this one; {remedy}, "
            f"{where}=None detects without one"
        )
    return found


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def check_names(calibration: Calibration, names: list[str], where: str) -> None:
    """Refuses a calibration whose names are not those of the data set, in its order.

    Raises:
        UserError: names the first difference.
    """
    for index, (own, other) in enumerate(zip(calibration.names, names, strict=False)):
        if own != other:
            raise UserError(
                f"{where}: the calibration's class {index} is {own!r}, the data set's is {other!r}; "
                "make a calibration with this data set (python -m trainer calibrate), or set its metainfo.classes"
            )
    if len(calibration.names) != len(names):
        raise UserError(
            f"{where}: the calibration has {len(calibration.names)} classes, the data set {len(names)}; "
            "make a calibration with this data set (python -m trainer calibrate)"
        )
