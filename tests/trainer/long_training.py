"""Many training steps of a small detector in a process of its own, and what they leave behind.

    python -m tests.trainer.long_training stage_1|partitioned STEPS

Every step has a batch of another size and other numbers of boxes, made and uploaded anew as the feed does it, and goes
through the optimizer of a config. The process prints one JSON object: for each step the live variables and operators
of Jittor, the kernels in its cache, the bytes that its allocator holds, and the process's resident bytes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil

from shared.train_loop import TrainLoop
from tests.trainer.models.clip_examples import batch_with_proposals, small_clip_model, write_vocabulary
from tests.trainer.models.examples import random_batch, small_model
from trainer import device
from trainer.batch import Batch
from trainer.device import jt
from trainer.models import build_detector
from trainer.training.optimizer import build_optimizer
from trainer.training.schedule import Schedule
from trainer.training.terms import packed, total_loss

SIDES = (96, 224, 128)
OPTIMIZER = {"optimizer": {"type": "AdamW", "lr": 1e-4, "weight_decay": 1e-4}, "clip_grad": {"max_norm": 10}}
RAMP = [{"type": "LinearLR", "start_factor": 0.05, "by_epoch": False, "begin": 0, "end": 20}]


def stage_1(step: int) -> Batch:
    """A batch of two images with 0 to 20 boxes each, in 8 to 24 slots."""
    return random_batch(*size(step), counts=(step * 8 % 21, step * 5 % 21), seed=step)


def partitioned(step: int) -> Batch:
    """A batch of two images from two data sets, with 0 to 8 boxes and 0 to 24 proposals each."""
    batch = batch_with_proposals(*size(step), counts=(step * 7 % 25, step * 4 % 25), seed=step)
    batch.host["dataset_ids"][:] = step % 2, step // 2 % 2
    return batch


def size(step: int) -> tuple[int, int]:
    """Height and width; all nine within the first nine steps."""
    return SIDES[step % 3], SIDES[step // 3 % 3]


def model_of(kind: str, folder: Path) -> dict:
    if kind == "stage_1":
        return small_model()
    head = {
        "roi_head.bbox_head.type": "BBoxHeadCLIPPartitioned",
        "roi_head.bbox_head.zeroshot_path": [write_vocabulary(folder, 12), write_vocabulary(folder, 20, seed=1)],
        "roi_head.bbox_head.num_classes": 20,
    }
    return small_clip_model(folder, **head)


def main(kind: str, steps: int) -> None:
    device.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        model = build_detector(model_of(kind, Path(folder)))
    model.train()
    optimizer = build_optimizer(OPTIMIZER, model)
    schedule = Schedule(RAMP, optimizer.base_rate, steps, TrainLoop.of({"max_epochs": 1}))
    process = psutil.Process()
    record = []
    for step in range(steps):
        batch = replace({"stage_1": stage_1, "partitioned": partitioned}[kind](step), step=step)
        terms = model.loss(batch)
        optimizer.follow(schedule, step)
        norm = optimizer.step(total_loss(terms))
        values = packed([*terms.values(), norm])
        jt.sync_all()
        values.numpy()
        alive = jt.liveness_info()
        record.append(
            {
                "variables": alive["hold_vars"],
                "operators": alive["lived_ops"],
                "kernels": device.jit_kernel_count(),
                "held": device.device_memory(),
                "resident": process.memory_info().rss,
            }
        )
    print(json.dumps(record))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
