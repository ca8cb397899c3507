"""How long a GPU waits while a real training is fed from photographs: for batches, by the trainer's own log, and for
anything at all, by its driver.

    python -m trainer   stage 1 of configs/own/full_size, from scratch ──► metrics.jsonl: data_wait_share
    nvidia-smi          the share of time in which a kernel ran, five times a second, from the first log to the end
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

REPOSITORY = Path(__file__).resolve().parents[2]
INTERVAL = 50  # steps between two lines of the log
_UTILISATION = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200", "--id=0")


@dataclass(frozen=True)
class Waiting:
    """Shares of the time of a training, from its first line in the log on, in which all kernels have been compiled."""

    for_data: float
    idle: float


def config_text(photographs: Path, annotations: str, steps: int) -> str:
    """A config that trains stage 1 on a folder in COCO's format, with as many steps."""
    return f"""_base_ = {str(REPOSITORY / "configs/own/full_size/stage_1.py")!r}
data_root = {str(photographs.resolve())!r}
model = dict(backbone=dict(init_cfg=None, frozen_stages=1))
train_dataloader = dict(dataset=dict(ann_file={annotations!r}))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={steps})
param_scheduler = [dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end={steps})]
default_hooks = dict(logger=dict(interval={INTERVAL}), checkpoint=None)
val_cfg = val_dataloader = val_evaluator = None
"""


def waits(metrics: Path) -> list[float]:
    """The share of time spent waiting for batches of each line of the log but the first, in which kernels compile."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [line["data_wait_share"] for line in lines if line["kind"] == "train"][1:]


def measure(photographs: Path, annotations: str, steps: int, environment: dict[str, str]) -> Waiting:
    """Trains. Raises SystemExit if that fails, having shown why."""
    with tempfile.TemporaryDirectory() as folder:
        config, work_dir = Path(folder, "config.py"), Path(folder, "run")
        config.write_text(config_text(photographs, annotations, steps), encoding="utf-8")
        command = [sys.executable, "-m", "trainer", "--config", str(config), "--work-dir", str(work_dir)]
        trainer = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=sys.stderr)
        metrics = work_dir / "metrics.jsonl"
        while trainer.poll() is None and not (metrics.exists() and metrics.stat().st_size):
            try:
                trainer.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        with subprocess.Popen(_UTILISATION, stdout=subprocess.PIPE, text=True) as driver:
            code = trainer.wait()
            driver.terminate()
            busy = [float(line) / 100 for line in driver.communicate()[0].split()]
        if code:
            raise SystemExit(f"{' '.join(command)}: exit code {code}")
        return Waiting(fmean(waits(metrics)), 1 - fmean(busy))
