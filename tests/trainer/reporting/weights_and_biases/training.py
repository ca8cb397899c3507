"""``python -m … WORK_DIR FIRST LAST``: a log of steps that W&B follows, without a network; then it waits to be killed,
unless LAST is the last step."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

from mmengine.config import Config
from PIL import Image

from shared.terminal import write_line
from trainer.process.interrupt import Interrupt
from trainer.reporting.weights_and_biases import followed
from trainer.training.log import Progress

STEPS = 12


def config_of(**init: object) -> Config:
    backend = {"type": "WandbVisBackend", "init_kwargs": init, "define_metric_cfg": {"train/loss": "min"}}
    return Config({"vis_backends": [{"type": "LocalVisBackend"}, backend], "model": {"type": "X", "size": 3}})


def train(work_dir: Path, first: int, last: int, interrupt: Interrupt, **init: object) -> None:
    with followed(config_of(**init), work_dir, first > 1, interrupt, write_line):
        progress = Progress(work_dir, STEPS, STEPS // 2, 1, first - 1)
        for step in range(first, last + 1):
            progress.train(step, {"loss": 1 / step}, 0.1, 4, 0.1, 0.5, 169869312 + step)
            if step % 4 == 0:
                progress.evaluation(step, {"coco": {"AR@100": step / 7}}, {"coco": sheet(step)})
        while last < STEPS:
            time.sleep(0.1)
        progress.close()


def sheet(step: int) -> bytes:
    """A PNG."""
    content = io.BytesIO()
    Image.new("RGB", (30, 20), (step, 100, 200)).save(content, format="PNG")
    return content.getvalue()


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Interrupt())
