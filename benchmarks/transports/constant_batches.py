"""Batches that cost nothing to make, for a data server's workers. A stream imports this by ``custom_imports``.

It registers an imaginary data set with MMDetection, and changes three things in the worker's module: the
sample is always the same one, a slot that holds it is not written again, and two things are noted: the processor time
from the assignment to the payload in its place, which is not the transport's, and the instant at which a batch is
complete. The rest is the project's: the worker's loop, layout, seal and messages, the server, the ledger.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import DATASETS

import data_server.workers.worker
from benchmarks.transports.stamps import Stamps
from data_server.datasets.samples import Sample
from shared.checksum import Checksum

IMAGES = 10_000  # the server plans an epoch at a time
VALUE = 1
_make_batch, _write = data_server.workers.worker.make_batch, data_server.workers.worker.write


@DATASETS.register_module()
class ConstantDataset:
    """One image of `height` x `width` pixels, again and again; `stamps` is the path of the stream's `Stamps`."""

    def __init__(self, height: int, width: int, stamps: str, test_mode: bool) -> None:
        self.test_mode = test_mode
        self.metainfo = {"classes": ("thing",)}
        self.pipeline = [PackDetInputs()]
        self.stamps = Stamps(stamps)
        self.sample = Sample(
            image=np.full((height, width, 3), VALUE, np.uint8),
            boxes=np.zeros((0, 4), np.float32),
            labels=np.zeros(0, np.int32),
            ignored=np.zeros(0, np.uint8),
            image_id=0,
            dataset_id=0,
            original_shape=(height, width),
            scale_factor=(1.0, 1.0, 1.0, 1.0),
            flipped=0,
        )

    def __len__(self) -> int:
        return IMAGES

    def get_data_info(self, _: int) -> dict[str, Any]:
        return {"height": self.sample.image.shape[0], "width": self.sample.image.shape[1]}


@dataclass
class _Preparation:
    """The batch that is being made in this process: since when, in nanoseconds of processor time, and in whose table it
    is noted."""

    stamps: Stamps
    begun: int

    def end(self) -> None:
        self.stamps.prepared(time.thread_time_ns() - self.begun)


_preparation: _Preparation


def load(datasets: Any, *_: int) -> Sample:
    return datasets.parts[0].dataset.sample


def write(samples: list[Sample], arrays: dict[str, np.ndarray], checksum: Checksum) -> None:
    if arrays["images"].flat[-1] != VALUE:
        _write(samples, arrays, checksum)
    _preparation.end()


@functools.wraps(_make_batch)
def make_batch(arena: Any, datasets: Any, *arguments: Any) -> Any:
    global _preparation
    stamps = datasets.parts[0].dataset.stamps
    time.sleep(stamps.interval)
    _preparation = _Preparation(stamps, time.thread_time_ns())
    wrote = _make_batch(arena, datasets, *arguments)
    stamps.complete(wrote.step)
    return wrote


data_server.workers.worker.load = load
data_server.workers.worker.write = write
data_server.workers.worker.make_batch = make_batch
