"""The second contender of the pipeline benchmark: torch's DataLoader, with a consumer that copies each image once.

Set up as MMDetection does it: fork, OpenCV and torch with one thread, `pseudo_collate`, `AspectRatioBatchSampler`,
persistent workers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from mmdet.datasets import AspectRatioBatchSampler
from mmdet.registry import DATASETS
from mmengine.dataset import InfiniteSampler, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from benchmarks.rounds import answer_rounds
from benchmarks.standard_data import standard_config


def main(settings: dict[str, Any]) -> None:
    DefaultScope.get_instance("benchmark", scope_name="mmdet")
    set_multi_processing(mp_start_method="fork", opencv_num_threads=0, distributed=False)
    torch.set_num_threads(1)
    config = standard_config(**settings["data"]).train_dataloader
    dataset = DATASETS.build(config.dataset)
    # One endless epoch: neither side pays for an epoch's end inside a round.
    loader = DataLoader(
        dataset,
        batch_sampler=AspectRatioBatchSampler(InfiniteSampler(dataset, seed=0), config.batch_size),
        num_workers=settings["workers"],
        collate_fn=pseudo_collate,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    batches = iter(loader)
    first = next(batches)
    buffer = torch.ones(4 * max(image.numel() for image in first["inputs"]), dtype=torch.uint8)
    answer_rounds(lambda images: _consume(batches, buffer, images))


def _consume(batches: Iterator[dict[str, Any]], buffer: torch.Tensor, images: int) -> float:
    """Seconds that `images` images take. Each image, uint8 (3, H, W), is copied into `buffer`, already touched."""
    start = time.perf_counter()
    while images > 0:
        for image in next(batches)["inputs"]:
            buffer[: image.numel()].copy_(image.view(-1))
            images -= 1
    return time.perf_counter() - start


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
