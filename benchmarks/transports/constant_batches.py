"""Batches that cost nothing to make, for a data server's workers. A stream imports this by ``custom_imports``.

It registers an imaginary data set with MMDetection, and changes three things in the worker's module: the
sample is always the same one, a slot that holds it is not written again, and it is noted of each batch what
`benchmarks.transports.stamps` has. A proxy notes when a batch has come from another host. The rest is the project's:
the worker's loop, layout, seal and messages, the proxy, the server, the ledger.

Workers keep time: each rests until the next beat of its own, which comes once in an interval and at another moment than
the others'. So many workers do not finish all at once, not even after the stream has stood still.
"""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import DATASETS

import data_server.workers.proxy
import data_server.workers.worker
from benchmarks.transports.stamps import Stamps
from data_server.datasets.samples import Sample
from data_server.handover.far_link import Place
from shared.checksum import Checksum

IMAGES = 10_000  # the server plans an epoch at a time
VALUE = 1
_GOLDEN = (5**0.5 - 1) / 2  # its multiples, of process numbers that follow one another, are spread over an interval
_make_batch, _write = data_server.workers.worker.make_batch, data_server.workers.worker.write


@DATASETS.register_module()
class ConstantDataset:
    """One image of `height` x `width` pixels, again and again; `stamps` is the path of the stream's `Stamps`, `relay`
    an address at which proxies reach their agent instead of its own ("": none)."""

    def __init__(self, height: int, width: int, stamps: str, relay: str, test_mode: bool) -> None:
        self.test_mode = test_mode
        self.metainfo = {"classes": ("thing",)}
        self.pipeline = [PackDetInputs()]
        self.stamps = Stamps(stamps)
        self.relay = relay
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
        height, width = self.sample.image.shape[:2]
        box = {"bbox": [0, 0, 1, 1], "bbox_label": 0, "ignore_flag": 0}  # a training set has to have one somewhere
        return {"img_path": __file__, "height": height, "width": width, "instances": [box]}


@dataclass
class _Preparation:
    """The batch that is being made in this process: since when, in nanoseconds of processor time, and in whose table it
    is noted."""

    stamps: Stamps
    step: int
    begun: int

    def end(self) -> None:
        self.stamps.prepared(self.step, time.thread_time_ns() - self.begun)


_preparation: _Preparation | None = None  # None in a rehearsal or a proof


def load(datasets: Any, *_: int) -> Sample:
    return datasets.parts[0].dataset.sample


def write(samples: list[Sample], arrays: dict[str, np.ndarray], checksum: Checksum) -> None:
    if arrays["images"].flat[-1] != VALUE:
        _write(samples, arrays, checksum)
    if _preparation is not None:
        _preparation.end()


@functools.wraps(_make_batch)
def make_batch(arena: Any, datasets: Any, config: Any, assignment: Any, held: int = 0) -> Any:
    global _preparation
    stamps = datasets.parts[0].dataset.stamps
    _rest(stamps.interval)
    _preparation = _Preparation(stamps, assignment.step, time.thread_time_ns())
    wrote = _make_batch(arena, datasets, config, assignment, held)
    stamps.complete(wrote.step)
    return wrote


class Proxy(data_server.workers.proxy._Proxy):
    """Notes when a batch has come."""

    def __init__(self, channel: Any, datasets: Any, config: Any, arena: Any, place: Place) -> None:
        dataset = datasets.parts[0].dataset
        self._stamps = dataset.stamps
        super().__init__(channel, datasets, config, arena, replace(place, address=dataset.relay or place.address))

    def _received(self, order: Any, wrote: Any) -> Any:
        answer = super()._received(order, wrote)
        self._stamps.arrived(order.step, 1000 * answer.microseconds)
        return answer


def _rest(interval: float) -> None:
    if interval:
        time.sleep(interval - (time.monotonic() - os.getpid() * _GOLDEN * interval) % interval)


data_server.workers.worker.load = load
data_server.workers.worker.write = write
data_server.workers.worker.make_batch = make_batch
data_server.workers.proxy._Proxy = Proxy
