"""What a host makes of a data set, so that two hosts can be compared before one makes batches for the other.

    annotations ──► fingerprint │ image files ──► xxh3 of their contents │ samples ──► two batches ──► their checksums

The same annotations and files do not make the same batch everywhere: a cubic resize comes out differently with and
without IPP or on another processor, colours with and without AVX2, pictures with another decoder of JPEG. So batches
are made and compared. Of a data set with many images some are looked at that are spread over it: a file that differs
elsewhere is not noticed by this.

Everything happens in a process forked for it, as in a rehearsal. Samples over which that dies are left out, and others
tried.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

import numpy as np
import xxhash

from data_server.datasets.parts import Datasets
from data_server.handover.facts import DatasetFacts
from data_server.workers import trial
from data_server.workers.worker import make_batch, prepare
from shared import source
from shared.arena import Arena, create_memory, slot_bytes_for
from shared.codec import decode, encode
from shared.messages import Assign, MessageError, Proof

BATCHES = 2
MAX_FILES = 500
_ATTEMPTS = 3
_PATIENCE_SECONDS = 120.0  # without a word
_MAKERS = ("unidetector-jittor", "numpy", "torch", "opencv-python", "onedl-mmcv", "onedl-mmdetection", "pillow")


def prove(datasets: Datasets, config: dict[str, Any], facts: DatasetFacts) -> Proof:
    """What this host makes."""
    for attempt in range(_ATTEMPTS):
        if (proof := _attempted(datasets, config, facts, attempt)) is not None:
            return proof
    return nothing(datasets)


def nothing(datasets: Datasets) -> Proof:
    """Where no batch can be made."""
    return Proof(datasets.fingerprint, b"", [], versions())


def versions() -> dict[str, str]:
    """Of what makes batches."""
    found = {"python": python_version()}
    for name in _MAKERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _attempted(datasets: Datasets, config: dict[str, Any], facts: DatasetFacts, attempt: int) -> Proof | None:
    process = trial.begin(lambda say: say(encode(_made(datasets, config, facts, attempt))))
    said = process.answer(lambda: trial.patience(config, _PATIENCE_SECONDS))
    try:
        return decode(said, Proof)
    except MessageError:
        return None


def _made(datasets: Datasets, config: dict[str, Any], facts: DatasetFacts, attempt: int) -> Proof:
    prepare()
    config = {**config, "feed": {**config["feed"], "checksum": True, "on_bad_sample": "stop"}}
    slot_bytes = slot_bytes_for(facts.payload_bytes(config))
    memory = create_memory(1, slot_bytes)
    arena = Arena(memory, 1, slot_bytes, writable=True)
    size = config["batch_size"]
    chosen = _samples(facts, BATCHES * size, attempt)
    batches = []
    for number in range(BATCHES):
        samples = [[index, attempt + index] for index in chosen[number * size : (number + 1) * size]]
        switched = config.get("switch") is not None and number % 2 == 1
        batches.append(make_batch(arena, datasets, config, Assign(0, 0, 1, samples, 0, switched)).digest)
    contents = np.array([_content(path) for path in files(datasets)], "<u8")
    return Proof(datasets.fingerprint, contents.tobytes(), batches, versions())


def _samples(facts: DatasetFacts, count: int, attempt: int) -> list[int]:
    """Spread over the data set; all wide or all high, because others may not fit into one batch."""
    alike = np.flatnonzero(facts.wide == facts.wide[0])
    places = (np.arange(count) * len(alike) // count + attempt) % len(alike)
    return [int(index) for index in alike[places]]


def files(datasets: Datasets) -> list[str]:
    """The image files whose contents are compared."""
    count = min(MAX_FILES, len(datasets))
    located = (datasets.locate(place * len(datasets) // count) for place in range(count))
    return [part.image_path(row) for part, row in located]


def _content(path: str) -> int:
    try:
        return xxhash.xxh3_64_intdigest(source.read(path)) or 1
    except OSError:
        return 0
