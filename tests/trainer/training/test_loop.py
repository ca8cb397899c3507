"""Where a training run ends: after its last step, with one evaluation, and at once when it is over already."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from data_server.demo import scenes
from shared.config import load_config
from shared.errors import UserError
from tests.cluster import ROOT, Cluster
from tests.trainer.models.examples import SMALL_STAGE_1, documented
from trainer.device import nn
from trainer.feed.server import connect
from trainer.models import build_detector
from trainer.process.interrupt import Interrupt
from trainer.training.loop import TrainingLoop
from trainer.training.onlooker import BATCH_FILE, WANTED_FILE
from trainer.training.verdicts import Evaluated
from trainer.weights import checkpoint, pretrained

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
    cluster: Cluster,
    config: Config,
    work_dir: Path,
    resume_from: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
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
        loop = TrainingLoop(config, server, work_dir, say, resume_from, evaluate)
        loop.run(Interrupt())
    lines = [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["kind"] == "train"], evaluations, loop.feed.record == loop.record


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    scenes.generate(folder, seed=1, train_images=2, val_images=1)
    return folder


def test_a_run_ends_after_its_last_step_and_tells_a_users_hook_of_the_documents(
    cluster: Cluster,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (ROOT / "docs/configs.md").read_text()
    (named,) = re.findall(r"^`custom_hooks=\[dict\((.*?)\)\]`", page, re.M)
    (tmp_path / "my_hooks.py").write_text(documented("my_hooks.py"))
    monkeypatch.syspath_prepend(tmp_path)
    config = config_of(data, evaluated=True)
    config.custom_hooks = [eval(f"dict({named})")]
    assert train(cluster, config, tmp_path / "judged") == (STEPS, 1, True)
    lines = (tmp_path / "judged" / "losses.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines] == STEPS
    metrics = (tmp_path / "judged" / "metrics.jsonl").read_text().splitlines()
    logged = [line for line in map(json.loads, metrics) if line["kind"] == "train"]
    for line, values in zip(logged, lines, strict=True):
        assert {line["lr"], line["loss_rpn_bbox"]} <= set(map(float, values.split(",")))
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith(("epoch", "after"))] == [
        next(line for line in said if re.match(r"epoch 1: no weight is larger than \d", line)),
        "after step 2: {}",
    ]


@pytest.mark.parametrize(
    ("batches", "scales", "updates"), [(1, [(1e38, 1), (1e8, 0)], 1), (2, [(1e38, 0), (1e38, 1)], 0)]
)
def test_the_log_has_the_scale_of_the_loss_and_the_updates_that_were_skipped(
    cluster: Cluster, data: Path, tmp_path: Path, batches: int, scales: list[tuple[float, int]], updates: int
) -> None:
    config = config_of(data, evaluated=False)
    config.optim_wrapper.type, config.optim_wrapper.accumulative_counts = "AmpOptimWrapper", batches
    config.optim_wrapper.loss_scale = {"init_scale": 1e38, "backoff_factor": 1e-30}  # the first overflows
    train(cluster, config, tmp_path / "work")
    lines = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["loss_scale"], line["skipped_updates"]) for line in lines] == [
        (pytest.approx(scale), skipped) for scale, skipped in scales
    ]
    saved = checkpoint.load(checkpoint.latest(tmp_path / "work"))
    assert saved.optimizer["loss_scale"].tolist() == [pytest.approx(1e8), updates, updates]
    assert saved.optimizer["step"] == [updates]


def test_a_users_hook_that_raises_ends_the_run_with_a_checkpoint(
    cluster: Cluster, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "from trainer.training.hooks import Hook\nclass Wrong(Hook):\n    def after_step(self, *_): 1 / 0\n"
    (tmp_path / "wrong_hooks.py").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)
    config = config_of(data, evaluated=False)
    config.custom_hooks = [{"type": "wrong_hooks.Wrong"}]
    says = r"'custom_hooks\[0\]': wrong_hooks.Wrong.after_step raises .*; checkpoint written at step 2$"
    with pytest.raises(UserError, match=says):
        train(cluster, config, tmp_path / "work")
    assert checkpoint.load(checkpoint.latest(tmp_path / "work")).cursor == {"epoch": 1, "step": 0}


def test_a_batch_that_somebody_looks_at_is_drawn_and_changes_no_bit_of_the_run(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    config = config_of(data, evaluated=False)
    weights, losses = [], []
    for name in ("alone", "looked_at"):
        work_dir = tmp_path / name
        work_dir.mkdir()
        if name == "looked_at":
            (work_dir / WANTED_FILE).touch()
        train(cluster, config, work_dir)
        lines = [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]
        losses.append([{key: line[key] for key in line if "loss" in key or key == "lr"} for line in lines])
        saved = checkpoint.load(checkpoint.latest(work_dir))
        weights.append({key: array.tobytes() for key, array in saved.model.items()})
    assert weights[0] == weights[1] and losses[0] == losses[1] and len(losses[0]) == len(STEPS)
    drawn = json.loads((tmp_path / "looked_at" / BATCH_FILE).read_text())
    assert drawn["step"] == 1 and sum(len(one["boxes"]) for one in drawn["images"]) > 0
    assert {box["name"] for one in drawn["images"] for box in one["boxes"]} == {""}  # stage 1 tells no classes apart
    assert not (tmp_path / "alone" / BATCH_FILE).exists()


def test_a_run_that_is_over_takes_no_batch_when_it_is_resumed(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "work"
    config = config_of(data, evaluated=False)
    assert train(cluster, config, work_dir) == (STEPS, 0, True)
    assert train(cluster, config, work_dir, checkpoint.latest(work_dir)) == (STEPS, 0, True)


NOISY = """
from trainer.device import jt

class NoisyNet(TinyNet):
    def execute(self, images):
        return super().execute(images * jt.rand(images.shape))
"""


def test_a_users_backbone_like_the_documents_that_draws_trains_and_a_resumed_run_ends_with_the_same_numbers(
    cluster: Cluster,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "noisy_backbone.py").write_text(documented("my_backbone.py") + NOISY)
    monkeypatch.syspath_prepend(tmp_path)
    config = config_of(data, evaluated=False)
    config.model.backbone = {"type": "noisy_backbone.NoisyNet", "width": 8, "frozen_stages": 0}
    config.custom_hooks = [{"type": "EMAHook", "momentum": 0.5}]
    config.default_hooks.checkpoint = {"type": "CheckpointHook", "by_epoch": False, "interval": 1}
    custom_keys = {"body.3": {"lr_mult": 0.0, "decay_mult": 0.0}}
    config.optim_wrapper.paramwise_cfg = {"custom_keys": custom_keys}
    assert train(cluster, config, tmp_path / "whole") == (STEPS, 0, True)
    middle = tmp_path / "whole" / "step_1.safetensors"
    said: list[str] = []
    assert train(cluster, config, tmp_path / "resumed", middle, said.append) == ([2], 0, True)
    assert not [line for line in said if line.startswith("warning")]
    with (tmp_path / "noisy_backbone.py").open("a") as file:
        file.write("# another\n")
    assert train(cluster, config, tmp_path / "edited", middle, said.append) == ([2], 0, True)
    assert [line for line in said if line.startswith(f"warning: noisy_backbone: not as when {middle} was written")]
    last = (checkpoint.latest(tmp_path / name) for name in ("whole", "resumed"))
    first, whole, resumed = map(checkpoint.load, (middle, *last))
    for kept in ("model", "training", "optimizer"):
        arrays, again = getattr(whole, kept), getattr(resumed, kept)
        assert arrays.keys() == again.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, again[name], err_msg=f"{kept} {name}")
    moved = {name for name, array in whole.model.items() if (array != first.model[name]).any()}
    assert {name.split(".")[2] for name in moved if name.startswith("backbone.body.")} == {"0", "1", "2"}
    assert not [name for name in (*moved, *whole.training, *whole.optimizer) if name.startswith("backbone.stem")]
    assert "backbone.body.3.1.conv.weight" in whole.training
    pretrained.load(whole.path, build_detector(config.model), lambda _: None, complete=True)
