"""Whether a sample is a function of its image and its seed, which resuming and other workers rely on.

MMDetection's own transforms are known. The cached ones among them depend on what was made before, unless they are
filled for each sample (`data_server.datasets.cached`). Where there is any other transform, or a data set of another
package, some samples are made twice, in two processes and in opposite orders, and compared::

    process 1   sample 0, 1, 2, ... n
    process 2   sample n, ... 2, 1, 0

A sample that kills its process, cannot be made or takes too long is not judged here: the stream will name it.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import xxhash

from data_server.datasets.parts import Datasets
from data_server.datasets.samples import BadSample, load
from data_server.workers import trial
from data_server.workers.trial import Say, Trial
from data_server.workers.worker import prepare
from shared.errors import UserError

_KNOWN = ("mmdet", "mmcv", "mmengine")
_RESEEDED = ("Albu",)  # of MMDetection, but what it runs is not
_SAMPLES = 12
_SECONDS = 20.0  # against hangs

Made = tuple[str, list[tuple[str, str]]]  # digest of a sample; after each transform, its name and a digest


def check(datasets: Datasets) -> None:
    """Compares samples that are made twice.

    Raises:
        UserError: a transform makes another sample the second time; names it.
    """
    for part in datasets.parts:
        if strays := part.misplaced_caches():
            raise UserError(
                f"transform {type(strays[0]).__name__!r} mixes in images that the same worker made before, so a sample "
                "is no function of its image and seed, and a resumed run would see others; have it as a step of the "
                "data set's own pipeline, not within another transform or MultiImageMixDataset's"
            )
        if not all(_is_known(one) for one in (*part.transforms, part.dataset)):
            indices = datasets.indices_of(part)
            samples = [(int(indices[number * len(indices) // _SAMPLES]), number) for number in range(_SAMPLES)]
            for switched in (False, True) if part.switches else (False,):
                datasets.switch(switched)
                _compare(datasets, samples)
            datasets.switch(False)


def _is_known(one: Any) -> bool:
    kind = type(one)
    return kind.__module__.partition(".")[0] in _KNOWN and kind.__name__ not in _RESEEDED


def _compare(datasets: Datasets, samples: list[tuple[int, int]]) -> None:
    processes = [_start(datasets, order) for order in (samples, samples[::-1])]
    end = time.monotonic() + _SECONDS
    forth, back = (_answer(process, end) for process in processes)
    for (index, _), one, other in zip(samples, forth, back[::-1], strict=False):
        if one is None or other is None or one[0] == other[0]:
            continue
        part, place = datasets.locate(index)
        pairs = zip(one[1], other[1], strict=False)
        culprit = next((a[0] for a, b in pairs if a != b), type(part.dataset).__name__)
        raise UserError(
            f"{culprit!r} of the pipeline makes two different samples of image {part.image_path(place)!r} and one "
            "seed, so a resumed run would see others; take it out, or let it keep nothing from one call to the next "
            "and draw from random, numpy.random or torch's default generator alone"
        )


def _start(datasets: Datasets, samples: list[tuple[int, int]]) -> Trial:
    """A process that makes samples."""

    def make_all(say: Say) -> None:
        prepare()
        say(json.dumps([_make(datasets, index, seed) for index, seed in samples]).encode())

    return trial.begin(make_all)


def _answer(process: Trial, end: float) -> list[Made | None]:
    """What a process has made; nothing where it has died or is not done at `end`."""
    try:
        found: list[Made | None] = json.loads(process.answer(lambda: max(0.0, end - time.monotonic())))
    except ValueError:
        return []
    return found


def _make(datasets: Datasets, index: int, seed: int) -> Made | None:
    """A sample's digests; None where it cannot be made."""
    part, _ = datasets.locate(index)
    pipeline = part.dataset.pipeline
    transforms = pipeline.transforms
    log: list[tuple[str, str]] = []
    pipeline.transforms = [_Watched(transform, log) for transform in transforms]
    try:
        sample = load(datasets, index, seed)
    except BadSample:
        return None
    finally:
        pipeline.transforms = transforms
    return _digest(vars(sample)), log


class _Watched:
    """A transform that notes what it was given first, and what it makes of it."""

    def __init__(self, transform: Any, log: list[tuple[str, str]]) -> None:
        self._transform, self._log = transform, log

    def __call__(self, results: dict[str, Any]) -> Any:
        if not self._log:
            self._log.append(("the data set", _digest(results)))
        results = self._transform(results)
        self._log.append((type(self._transform).__name__, _digest(results)))
        return results


def _digest(value: Any) -> str:
    digest = xxhash.xxh3_64()
    _update(digest, value)
    return digest.hexdigest()


def _update(digest: Any, value: Any) -> None:
    """Adds plain values, arrays, tensors, boxes and masks; nothing else says what a picture is."""
    for name in ("tensor", "masks"):
        value = getattr(value, name, value)
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _update(digest, value[key])
    elif isinstance(value, list | tuple):
        for one in value:
            _update(digest, one)
    elif isinstance(value, np.ndarray) or hasattr(value, "numpy"):
        array = np.ascontiguousarray(value if isinstance(value, np.ndarray) else value.numpy())
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    elif value is None or isinstance(value, str | int | float | bool):
        digest.update(repr(value).encode())
