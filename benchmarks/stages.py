"""Where one sample's time goes: every step of both sides, in one process, one after the other.

    shared      each transform of the pipeline up to PackDetInputs
    ours        the slot (layout, one copy per image with its checksum)   then the consumer's copy with its check
    DataLoader  PackDetInputs, the move to shared memory                  then the consumer's copy

``python -m benchmarks.stages SETTINGS`` prints JSON: milliseconds per image by side, process and stage.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.standard_data import standard_config
from data_server.datasets.parts import Datasets
from data_server.datasets.samples import load
from data_server.workers.payload import lay_out, write
from shared.arena import Arena, create_memory, slot_bytes_for
from shared.checksum import Checksum
from shared.data_part import data_part, from_plain

IMAGES = 60
SLOTS = 5  # as a data server with two workers has
REPETITIONS = 8


class Clock:
    """Sums up seconds by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def start(self) -> None:
        self._last = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] += now - self._last
        self._last = now

    def milliseconds(self, images: int) -> dict[str, float]:
        return {stage: 1000 * seconds / images for stage, seconds in self.seconds.items()}


def main(settings: dict[str, Any]) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    config = from_plain(data_part(standard_config(**settings["data"]), "train"))
    datasets = Datasets(config)
    (part,) = datasets.parts
    batch = config["batch_size"]
    order = np.random.default_rng(0).permutation(len(datasets))
    chosen = np.resize(order, IMAGES // batch * batch)
    print(json.dumps({"data_server": _ours(datasets, config, chosen), "dataloader": _theirs(part, chosen)}))


def _ours(datasets: Datasets, config: dict[str, Any], chosen: np.ndarray) -> dict[str, dict[str, float]]:
    batch = config["batch_size"]
    samples = [load(datasets, int(index), 0) for index in chosen[: 4 * batch]]
    groups = [samples[start : start + batch] for start in range(0, len(samples), batch)]
    room = 2 * max(lay_out(samples, config, datasets.proposals).nbytes for samples in groups)
    descriptor = create_memory(SLOTS, slot_bytes_for(room))
    arena = Arena(descriptor, SLOTS, slot_bytes_for(room), writable=True)
    os.close(descriptor)
    private = np.ones(room, np.uint8)
    worker, consumer = Clock(), Clock()
    for step, samples in enumerate(groups * REPETITIONS):
        slot = step % SLOTS
        worker.start()
        layout = lay_out(samples, config, datasets.proposals)
        payload = arena.payload(slot)
        checksum = Checksum(payload)
        write(samples, layout.views(payload), checksum)
        digest = arena.seal(slot, step, step, layout, checksum)
        worker.stop("write into the slot, checksum")
        consumer.start()
        arena.copy_payload(slot, step, layout, digest, layout.views(private))
        consumer.stop("copy, check")
    images = len(groups) * REPETITIONS * batch
    return {"worker": worker.milliseconds(images), "consumer": consumer.milliseconds(images)}


def _theirs(part: Any, chosen: np.ndarray) -> dict[str, dict[str, float]]:
    """Also times the transforms that both sides share, stage ``shared``: here they run as MMDetection runs them."""
    shared, worker, consumer = Clock(), Clock(), Clock()
    private = torch.ones(1, dtype=torch.uint8)
    for index in chosen:
        shared.start()
        results = part.dataset.get_data_info(int(index))
        shared.stop("look up")
        for transform in part.dataset.pipeline.transforms:
            results = transform(results)
            shared.stop(type(transform).__name__)
        worker.start()
        image = part.pack(results)["inputs"]
        worker.stop("PackDetInputs")
        image.share_memory_()
        worker.stop("move to shared memory")
        if private.numel() < image.numel():
            private = torch.ones(image.numel(), dtype=torch.uint8)
        consumer.start()
        private[: image.numel()].copy_(image.view(-1))
        consumer.stop("copy")
    count = len(chosen)
    return {
        "shared": shared.milliseconds(count),
        "worker": worker.milliseconds(count),
        "consumer": consumer.milliseconds(count),
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
