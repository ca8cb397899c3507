"""The first steps of a training run on a batch of noise: whatever they need is compiled afterwards.

Which kernels Jittor compiles depends on the operators and on how many axes their arrays have, not on how long these
are, unless the length is 1. So the images are small, and two of them do for any larger batch.
"""

from __future__ import annotations

import contextlib

import numpy as np
from mmengine.config import Config

from shared.batch import blank_arrays
from shared.config import feed_settings
from shared.train_loop import TrainLoop
from trainer.batch import Batch
from trainer.device import jt, nn
from trainer.training.accumulation import Accumulation
from trainer.training.guards import TrainingFault, assert_trains
from trainer.training.optimizer import build_optimizer
from trainer.training.schedule import Schedule
from trainer.training.terms import packed, total_loss

SIZE = (256, 320)  # height and width: cells to spare at the coarsest level, of stride 64
BOXES, PROPOSALS = 8, 64


def noise(config: Config, images: int) -> Batch:
    """A batch of one or two images with boxes of the first class, and with proposals.

    Args:
        images: of a batch as it is going to be.
    """
    random = np.random.default_rng(0)
    arrays = blank_arrays(min(images, 2), *SIZE, BOXES, PROPOSALS, feed_settings(config)["image_dtype"])
    arrays["images"][:] = random.integers(0, 256, arrays["images"].shape)
    arrays["box_counts"][:], arrays["proposal_counts"][:] = BOXES, PROPOSALS
    for boxes in (arrays["boxes"], arrays["proposals"]):
        boxes[..., :2] = random.uniform(0, 128, (*boxes.shape[:2], 2))
        boxes[..., 2:4] = boxes[..., :2] + random.uniform(16, 128, (*boxes.shape[:2], 2))
    arrays["proposals"][..., 4] = random.uniform(0, 1, arrays["proposals"].shape[:2])
    return Batch.from_arrays(arrays)


def take_steps(model: nn.Module, config: Config) -> None:
    """Tests and trains `model`, in training mode, as `trainer.training.loop` does, and so spoils its weights."""
    images = config.train_dataloader["batch_size"]
    with contextlib.suppress(TrainingFault):  # noise may leave a part of the network without a gradient
        assert_trains(model, config, noise(config, images))
    optimizer = build_optimizer(config.optim_wrapper, model)
    counts = optimizer.counts
    schedule = Schedule(
        config.get("param_scheduler") or [], optimizer.base_rate, 2 * counts, TrainLoop.of({"max_epochs": 1})
    )
    accumulation = Accumulation(counts, 2 * counts)
    # The second update finds the optimizer's buffers filled. A batch is an update's first, its last, or one between.
    for step in sorted({0, min(1, counts - 1), counts - 1, counts, 2 * counts - 1}):
        terms = model.loss(noise(config, images))  # what has just been uploaded is fused with what comes next
        optimizer.follow(schedule, step)
        scale = optimizer.scale
        norm = optimizer.step(total_loss(terms), accumulation.share(step))
        values = packed([*terms.values(), norm, *scale])
        jt.sync_all()
        values.numpy()
