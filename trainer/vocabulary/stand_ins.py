"""Files that a config's model names but that do not exist yet, replaced by others of the right form.

A model cannot be built without its vocabulary, but its shapes and sizes do not depend on what is in it. So a config can
be described, and checked for mistakes, before there are embeddings:

    zeroshot_path       num_classes rows of EMBEDDING_LENGTH zeros, as CLIP's ResNet-50 makes them
    cat_freq_path       taken out: as if every class had images
    calibration,
    detection_counts    taken out, with their gamma: as if scores were not calibrated
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shared.keys import COUNT

EMBEDDING_LENGTH = 1024
_PRIORS = ("calibration", "detection_counts")
_OPTIONAL = ("cat_freq_path", *_PRIORS)


@contextlib.contextmanager
def with_stand_ins(model: dict) -> Iterator[tuple[dict, list[str]]]:
    """The config of a model that can be built, inside, and which files it lacks.

    Args:
        model: a config's `model`, which stays as it is.

    Yields:
        a copy of `model` in which every missing file is replaced or taken out, and their paths in the original.
    """
    model = copy.deepcopy(model)
    roi_head = model.get("roi_head")
    head = roi_head.get("bbox_head") if isinstance(roi_head, dict) else None
    if not isinstance(head, dict) or not COUNT.accepts(head.get("num_classes")):
        yield model, []  # `build_detector` says what is wrong
        return
    missing: list[str] = []
    zeros = ""
    for key in ("zeroshot_path", *_OPTIONAL):
        paths = head.get(key)
        named = [path for path in (paths if isinstance(paths, list) else [paths]) if path and isinstance(path, str)]
        absent = [path for path in named if not os.path.isfile(path)]
        missing += absent
        if absent and key in _OPTIONAL:
            del head[key]
        elif absent:
            zeros = _zeros(head["num_classes"])
            head[key] = [zeros if path in absent else path for path in paths] if isinstance(paths, list) else zeros
    if not any(key in head for key in _PRIORS):
        head.pop("gamma", None)
    try:
        yield model, missing
    finally:
        if zeros:
            os.close(int(Path(zeros).name))


def _zeros(classes: int) -> str:
    """A file in memory: no disk has to have room for it."""
    descriptor = os.memfd_create("stand-in")
    with open(descriptor, "wb", closefd=False) as file:
        np.save(file, np.zeros((classes, EMBEDDING_LENGTH), np.float16))
    return f"/proc/self/fd/{descriptor}"
