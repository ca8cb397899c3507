"""Where a training run ends: after its last step, with one evaluation, and at once when it is over already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from data_server.demo import scenes
from shared.config import load_config
from tests.cluster import ROOT, Cluster
from tests.trainer.models.examples import SMALL_STAGE_1
from trainer.device import nn
from trainer.feed.server import connect
from trainer.process.interrupt import Interrupt
from trainer.training.loop import TrainingLoop
from trainer.training.verdicts import Evaluated
from trainer.weights import checkpoint

EPOCHS = 1
STEPS = [1, 2]


def config_of(folder: Path, evaluated: bool) -> Config:
    options = {
        **{f"model.{key}": value for key, value in SMALL_STAGE_1.items()},
        "data_root": str(folder),
        "train_dataloader.batch_size": 4,
        "train_cfg.max_epochs": EPOCHS,
        "train_cfg.val_interval": EPOCHS,
        "default_hooks.logger.interval": 1,
    }
    if not evaluated:
        options |= {"val_evaluator": None, "test_evaluator": None}
    return load_config(str(ROOT / "configs/demo/cln.py"), options)


def train(
    cluster: Cluster, config: Config, work_dir: Path, resume_from: Path | None = None
) -> tuple[list[int], int, bool]:
    """The steps that the run's log has afterwards; how often the model was evaluated; whether all batches that it took
    were trained on."""
    evaluations = 0

    def evaluate(_: nn.Module) -> Callable[[], Evaluated]:
        nonlocal evaluations
        evaluations += 1
        assert evaluations == 1
        return lambda: Evaluated({}, {})

    work_dir.mkdir(exist_ok=True)
    with connect(cluster.address.text, None, lambda _: None) as server:
        loop = TrainingLoop(config, server, work_dir, lambda _: None, resume_from, evaluate)
        loop.run(Interrupt())
    lines = [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["kind"] == "train"], evaluations, loop.feed.record == loop.record


def test_a_run_ends_after_its_last_step_and_takes_no_batch_when_it_is_resumed(cluster: Cluster, tmp_path: Path) -> None:
    data, work_dir = tmp_path / "data", tmp_path / "work"
    scenes.generate(data, seed=1, train_images=2, val_images=1)
    assert train(cluster, config_of(data, evaluated=True), tmp_path / "judged") == (STEPS, 1, True)
    config = config_of(data, evaluated=False)
    assert train(cluster, config, work_dir) == (STEPS, 0, True)
    assert train(cluster, config, work_dir, checkpoint.latest(work_dir)) == (STEPS, 0, True)
