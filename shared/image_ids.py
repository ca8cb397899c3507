"""What the images of a stream are called in ``image_ids``, where only 64-bit integers travel.

    every id of the annotations is an integer from 0 to 2^63 - 1, no two are alike   ──► these ids
    anything else (text, negative, larger, none, the same id in two data sets)       ──► places in the stream, 0, 1, ...

It is one or the other for all images of a stream, so that no id can be taken for a place. In training the ids of two
data sets may be alike: ``dataset_ids`` tells them apart. Metrics and files of proposals get an image's own id in either
case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_END = 1 << 63


def stream_ids(*groups: Sequence[Any] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64 (images,) for images that the annotations call as `groups` say, one after the other; no two of a group are
    alike."""
    if all(_are_plain(group) for group in groups):
        return np.concatenate([np.array(group, np.int64) for group in groups])
    return np.arange(sum(map(len, groups)), dtype=np.int64)


def _are_plain(identities: Sequence[Any] | npt.NDArray[np.int64]) -> bool:
    if isinstance(identities, np.ndarray):
        ascending = bool((identities[1:] > identities[:-1]).all())  # mostly; to sort takes longer
        return bool((identities >= 0).all()) and (ascending or len(np.unique(identities)) == len(identities))
    return all(type(one) is int and 0 <= one < _END for one in identities) and len(set(identities)) == len(identities)
