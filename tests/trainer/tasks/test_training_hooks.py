"""Runs whose config has hooks that look at evaluations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_server.demo import scenes
from tests.cluster import Cluster
from tests.trainer.reporting.weights_and_biases.files import assert_same, rows
from tests.trainer.runs import Run
from trainer.weights import checkpoint

FOLLOWED = {"vis_backends.type": "WandbVisBackend", "vis_backends.init_kwargs.mode": "offline"}
BEST = {"default_hooks.checkpoint.save_best": "auto", "train_cfg.val_interval": 1}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "demo"
    scenes.generate(out, seed=1, train_images=10, val_images=8)
    return out


@pytest.fixture
def start(data_root: Path, cluster: Cluster) -> Callable[..., Run]:
    """Starts a run in a work dir."""

    def begin(work_dir: Path, *arguments: str, **options: object) -> Run:
        return Run(work_dir, data_root, *arguments, server=cluster.address, **options)

    return begin


AVERAGE = {
    "default_hooks.ema.type": "EMAHook",
    "default_hooks.ema.ema_type": "ExpMomentumEMA",
    "default_hooks.ema.gamma": 3,
    "default_hooks.ema.begin_iter": 2,
}


def first_metric(run: Run) -> tuple[str, list[float]]:
    """The first metric of the first split, and its scores, one for each evaluation."""
    lines = [json.loads(line) for line in (run.work_dir / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if line["kind"] == "val" and line["name"] == "val_base"]
    metric = list(found[0])[4]  # kind, step, epoch, name
    return metric, [line[metric] for line in found]


def test_the_best_checkpoint_is_that_of_the_best_evaluation_and_a_resumed_run_keeps_it(
    tmp_path: Path, start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "client.lease:9:SIGTERM")  # in the third epoch of three steps
    run = start(tmp_path / "work", epochs=4, **BEST, **FOLLOWED)
    assert run.end() == 0 and "--resume continues" in run.text, run.text
    monkeypatch.delenv("FAULT")
    run = start(tmp_path / "work", "--resume", epochs=4, **BEST, **FOLLOWED)
    assert run.end() == 0, run.text
    assert_same(run.work_dir, rows(run.work_dir / "wandb"))
    sheets = [row["step"] for row in rows(run.work_dir / "wandb") if "val/val_base/contact_sheet" in row]
    assert sheets == [6, 12, 18, 24]
    metric, scores = first_metric(run)
    assert len(scores) == 4
    epoch = scores.index(max(scores)) + 1
    name = f"best_coco_{metric}_epoch_{epoch}"
    assert [path.stem for path in run.work_dir.glob("best_*")] == [name]
    assert checkpoint.latest(run.work_dir).name == "epoch_4.safetensors"
    saved = checkpoint.load(run.work_dir / f"{name}.safetensors")
    assert saved.optimizer == {} and saved.cursor == {"epoch": epoch, "step": 0}
    last = checkpoint.load(run.work_dir / "epoch_4.safetensors").meta["verdicts"]
    assert last["best"] == {f"coco/{metric}": {"score": max(scores), "file": f"{name}.safetensors"}}
    again = start(tmp_path / "again", "evaluate", "--checkpoint", str(run.work_dir / f"{name}.safetensors"))
    assert again.end() == 0, again.text
    results = json.loads((again.work_dir / "results.json").read_text())["results"]
    assert results["val_base"][metric] == max(scores)
    refused = start(tmp_path / "work", "--resume", "--checkpoint", str(run.work_dir / f"{name}.safetensors"), **BEST)
    assert refused.end() == 2 and "has weights alone, as the best ones of a run have" in refused.text.splitlines()[-1]


@pytest.mark.long
def test_a_run_that_is_interrupted_goes_on_to_the_same_average_and_evaluates_it(
    tmp_path: Path, start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = start(tmp_path / "undisturbed", epochs=2, **AVERAGE)
    assert undisturbed.end() == 0, undisturbed.text
    expected = checkpoint.load(checkpoint.latest(undisturbed.work_dir))
    assert expected.training["steps"] == [len(undisturbed.steps()) - 1]
    names = expected.training.keys() - {"steps"}
    assert any((expected.training[name] != expected.model[name]).any() for name in names)

    monkeypatch.setenv("FAULT", "client.release:4:SIGTERM")
    run = start(tmp_path / "work", epochs=2, **AVERAGE)
    assert run.end() == 0 and "--resume continues" in run.text, run.text
    monkeypatch.delenv("FAULT")
    run = start(tmp_path / "work", "--resume", epochs=2, **AVERAGE)
    assert run.end() == 0, run.text
    found = checkpoint.load(checkpoint.latest(run.work_dir))
    assert run.losses(100) == undisturbed.losses(100)
    for part in ("model", "training", "optimizer"):
        assert getattr(found, part).keys() == getattr(expected, part).keys()
        for name, array in getattr(expected, part).items():
            np.testing.assert_array_equal(getattr(found, part)[name], array, err_msg=name)

    again = start(tmp_path / "again", "evaluate", "--checkpoint", str(checkpoint.latest(run.work_dir)))
    assert again.end() == 0, again.text
    assert again.text.splitlines()[-2:] == undisturbed.text.splitlines()[-2:] == run.text.splitlines()[-2:]
    refused = start(tmp_path / "work", "--resume", epochs=3)
    assert refused.end() == 2 and "the config has no EMAHook" in refused.text.splitlines()[-1], refused.text


def test_a_run_that_stops_early_evaluates_no_more_and_ends_at_once_when_it_is_resumed(
    tmp_path: Path, start: Callable[..., Run]
) -> None:
    stopping = {"default_hooks.stop.type": "EarlyStoppingHook", "default_hooks.stop.monitor": "AR@100"}
    options = stopping | {"default_hooks.stop.patience": 1, "default_hooks.stop.min_delta": 2, **BEST}
    run = start(tmp_path / "work", epochs=9, **options)
    assert run.end() == 0, run.text
    # the first score is better than nothing, the second not by 2
    assert "the run ends early: coco/AR@100 has not improved in 1 evaluations" in run.text
    assert checkpoint.latest(run.work_dir).name == "epoch_2.safetensors" and len(first_metric(run)[1]) == 2
    table = run.text.splitlines()[-2:]
    assert "val_never_seen" in table[-1]
    resumed = start(tmp_path / "work", "--resume", epochs=9, **options)
    assert resumed.end() == 0 and "the run ended early" in resumed.text, resumed.text
    assert len(first_metric(resumed)[1]) == 2
