"""A first start, phase by phase: ``python -m benchmarks.networks.cold_start``, with an empty $HOME for a cold one.

Import (which compiles Jittor's core), the demo's model, its first training step, the second, an inference; prints the
seconds of each phase and the kernels loaded until then as JSON. Batches are made here; the data server starts
meanwhile in a process of its own and is not in these figures.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "demo" / "cln.py"
HEIGHT, WIDTH, BOXES = 160, 192, 8


def main() -> None:
    phases, started = [], time.perf_counter()
    from mmengine.config import Config

    from shared.batch import blank_arrays
    from trainer.batch import Batch
    from trainer.device import jit_kernel_count, jt
    from trainer.models import build_detector
    from trainer.training.optimizer import build_optimizer
    from trainer.training.terms import packed, total_loss

    def finished(what: str) -> None:
        nonlocal started
        jt.sync_all()
        phases.append({"what": what, "seconds": time.perf_counter() - started, "kernels": jit_kernel_count()})
        started = time.perf_counter()

    finished("import, Jittor's core")
    config = Config.fromfile(CONFIG)
    model = build_detector(config.model)
    model.train()
    optimizer = build_optimizer(config.optim_wrapper, model)
    finished("model")
    random, images = np.random.default_rng(0), config.train_dataloader.batch_size
    corners = random.uniform(0, 90, (images, BOXES, 2))
    arrays = blank_arrays(images, HEIGHT, WIDTH, BOXES)
    arrays["images"][:] = random.integers(0, 255, (images, HEIGHT, WIDTH, 3))
    arrays["image_shapes"][:] = 144, WIDTH
    arrays["boxes"][:] = np.concatenate([corners, corners + random.uniform(10, 50, corners.shape)], 2)
    arrays["box_counts"][:] = random.integers(1, BOXES + 1, images)
    batch = Batch.from_arrays(arrays)
    for what in ("first step", "second step"):
        terms = model.loss(batch)
        norm = optimizer.step(total_loss(terms))
        values = packed([*terms.values(), norm])
        finished(what)
        values.numpy()
    kernels, seconds = phases[-1]["kernels"], sum(phase["seconds"] for phase in phases[:3])
    model.eval()
    model.predict(batch)
    finished("inference")
    print(json.dumps({"phases": phases, "kernels": kernels, "seconds": seconds}))


if __name__ == "__main__":
    main()
