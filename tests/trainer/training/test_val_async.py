"""``train_cfg.val_async``: evaluations whose metrics are computed while training goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config

from data_server.demo import scenes
from shared.config import load_config
from shared.errors import UserError
from tests.cluster import ROOT, Cluster
from tests.trainer.models.examples import SMALL_STAGE_1
from trainer.device import nn
from trainer.evaluation.evaluate import Evaluation
from trainer.feed.server import connect
from trainer.process.interrupt import Interrupt, Interrupted
from trainer.training.log import METRICS_FILE, read
from trainer.training.loop import TrainingLoop
from trainer.training.verdicts import Evaluated
from trainer.weights import checkpoint

INTERVAL, LAST = 2, 4  # steps: of an epoch, of the run
HOOK = {"type": "EarlyStoppingHook", "monitor": "coco/bbox_mAP", "rule": "greater"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "demo"
    scenes.generate(out, seed=1, train_images=2, val_images=2)
    return out


def config_of(data: Path, **options: object) -> Config:
    return load_config(
        str(ROOT / "configs/demo/cln.py"),
        {
            **{f"model.{key}": value for key, value in SMALL_STAGE_1.items()},
            "data_root": str(data),
            "train_dataloader.batch_size": 4,
            "train_cfg.max_epochs": LAST // INTERVAL,
            "train_cfg.val_interval": 1,
            "test_evaluator": None,
            "default_hooks.logger.interval": 1,
            "default_hooks.checkpoint.by_epoch": False,
            "default_hooks.checkpoint.interval": 1,
            **options,
        },
    )


def judged(data: Path, work_dir: Path, late: bool) -> Config:
    """With metrics that come at once, or, if `late`, after the step that follows."""
    options = {"save_best": ["scores/mean", "scores/below"], "rule": "greater"}
    config = config_of(data, **{f"default_hooks.checkpoint.{key}": value for key, value in options.items()})
    config.train_cfg.val_async = late
    log = str(work_dir / METRICS_FILE) if late else None
    config.val_evaluator = [config.val_evaluator, {"type": "Scores", "log": log, "interval": INTERVAL, "last": LAST}]
    config.custom_imports = {"imports": ["tests.trainer.training.scores"]}
    return config


class Steps(Interrupt):
    """Calls `before` with the number of each step before it is taken; a signal comes where that says so."""

    def __init__(self, before: Callable[[int], bool]) -> None:
        super().__init__()
        self._before, self.loop = before, None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        if self._before(self.loop.step + 1):
            self.signal = signal.SIGTERM
            raise Interrupted
        with super().waiting():
            yield


def train(
    cluster: Cluster,
    config: Config,
    work_dir: Path,
    resume_from: Path | None = None,
    *,
    before: Callable[[int], bool] = lambda _: False,
    say: Callable[[str], None] = lambda _: None,
    evaluate: Callable[[nn.Module], Callable[[], Evaluated]] | None = None,
) -> None:
    work_dir.mkdir(exist_ok=True)
    interrupt = Steps(before)
    with connect(cluster.address.text, None, lambda _: None) as server:
        begin = evaluate or Evaluation(config, server, work_dir, say).begin
        interrupt.loop = loop = TrainingLoop(config, server, work_dir, say, resume_from, begin)
        try:
            loop.run(interrupt)
        finally:
            loop.feed.close()


def outcome(work_dir: Path) -> dict[str, Any]:
    """What a run has found: its log by steps, without times, and what it would go on from."""
    timeless = ("epoch", "name", "lr")
    lines = read(work_dir / METRICS_FILE)
    last = checkpoint.load(checkpoint.latest(work_dir))
    return {
        "losses": [{k: v for k, v in one.items() if "loss" in k or k in timeless} for one in of_kind(lines, "train")],
        "metrics": of_kind(lines, "val"),
        "best": {path.name: content(checkpoint.load(path)) for path in work_dir.glob("best_*")},
        "last": content(last),
    }


def content(of: checkpoint.Checkpoint) -> list[Any]:
    """All of a checkpoint but the config."""
    arrays = [
        {k: v.tobytes() for k, v in part.items()} for part in (of.model, of.optimizer, of.training, of.evaluation)
    ]
    return [of.cursor, {key: value for key, value in of.meta.items() if key != "config"}, arrays]


def of_kind(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["kind"] == kind]


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for part, value in expected.items():
        assert found[part] == value, part


def test_a_run_that_goes_on_during_evaluations_gives_what_one_that_waits_gives_and_so_do_those_that_resume_it(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    waited, work_dir = tmp_path / "waited", tmp_path / "work"
    train(cluster, judged(data, waited, late=False), waited)
    expected = outcome(waited)
    assert [line["step"] for line in expected["metrics"]] == [INTERVAL, LAST]
    assert sorted(name.rpartition("_")[2] for name in expected["best"]) == ["2.safetensors", "4.safetensors"]

    killed = tmp_path / "killed"

    def say(line: str) -> None:
        if line.startswith("best") and not killed.exists():  # the metrics of the first evaluation are being taken
            shutil.copytree(work_dir, killed)

    train(cluster, judged(data, work_dir, late=True), work_dir, say=say)
    same(outcome(work_dir), expected)

    between = work_dir / f"step_{INTERVAL + 1}.safetensors"
    begun, before_it = checkpoint.load(between), checkpoint.load(work_dir / "epoch_1.safetensors")
    assert begun.meta["under_way"]["step"] == INTERVAL and "under_way" not in before_it.meta
    assert all((begun.evaluation[name] == array).all() for name, array in before_it.model.items())
    for path in work_dir.glob("best_*"):
        path.unlink()
    assert not of_kind(read(killed / METRICS_FILE), "val")
    for resumed, resume_from in ((work_dir, between), (killed, checkpoint.latest(killed))):
        train(cluster, judged(data, resumed, late=True), resumed, resume_from)
        same(outcome(resumed), expected)


def test_a_verdict_acts_where_the_next_evaluation_is_due_and_a_failing_metric_ends_the_run_there(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    config = config_of(data, **{"train_cfg.max_epochs": 3, "train_cfg.val_async": True, "custom_hooks": [HOOK]})
    config.custom_hooks[0].stopping_threshold = 0.1
    weights: list[np.ndarray] = []
    good: list[bool] = []

    def evaluate(model: nn.Module) -> Callable[[], Evaluated]:
        weights.append(model.state_dict(to="numpy")["backbone.conv1.weight"])

        def finish() -> Evaluated:
            if not good:
                raise UserError("metric 'Mine': no such image")
            return Evaluated({"val": {"bbox_mAP": 0.5}}, {"coco/bbox_mAP": 0.5})

        return finish

    with pytest.raises(UserError, match="metric 'Mine': no such image"):
        train(cluster, config, tmp_path, evaluate=evaluate)
    latest = checkpoint.latest(tmp_path)
    assert latest.name == "epoch_2.safetensors" and not of_kind(read(tmp_path / METRICS_FILE), "val")
    good.append(True)
    for _ in range(2):  # what has ended is over
        train(cluster, config, tmp_path, checkpoint.latest(tmp_path), evaluate=evaluate)
        lines = read(tmp_path / METRICS_FILE)
        assert [line["step"] for line in of_kind(lines, "val")] == [INTERVAL]
        assert [line["step"] for line in of_kind(lines, "train")] == [1, 2, 3, 4]
        assert len(weights) == 2 and (weights[0] == weights[1]).all()
        last = checkpoint.load(checkpoint.latest(tmp_path))
        assert last.cursor == {"epoch": 2, "step": 0} and "under_way" not in last.meta
        assert last.meta["verdicts"]["early_stopping"]["over"].startswith("coco/bbox_mAP is 0.5")


def test_a_run_that_is_interrupted_while_metrics_are_computed_does_not_wait_for_them(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    begun: list[int] = []

    def evaluate(_: nn.Module) -> Callable[[], Evaluated]:
        begun.append(1)

        def finish() -> Evaluated:
            raise AssertionError("waited")

        return finish

    config = config_of(data, **{"train_cfg.val_async": True, "default_hooks.checkpoint": None})
    train(cluster, config, tmp_path, before=lambda step: step == LAST, evaluate=evaluate)
    found = checkpoint.load(checkpoint.latest(tmp_path))
    assert begun == [1] and found.meta["under_way"]["step"] == INTERVAL and found.cursor == {"epoch": 1, "step": 1}
    assert json.dumps(found.meta["under_way"]["stream"]) != json.dumps(found.meta["stream"])


def test_a_rate_falls_before_the_step_that_follows_the_metrics_and_stays_down_in_a_run_that_is_resumed(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    scores = iter((0.5, 0.4, 0.6, 0.7, 0.6, 0.7))  # after steps 1, 2, 3 and 5; again after 3 and 5

    def evaluate(_: nn.Module) -> Callable[[], Evaluated]:
        score = next(scores)
        return lambda: Evaluated({"val": {"bbox_mAP": score}}, {"coco/bbox_mAP": score})

    plateau = {"monitor": "bbox_mAP", "rule": "greater", "patience": 0, "factor": 0.5}
    config = config_of(data)
    config.train_cfg = {"by_epoch": False, "max_iters": 5, "val_interval": 1, "val_async": True}
    config.train_cfg["dynamic_intervals"] = [(5, 10)]
    config.param_scheduler = {"type": "ReduceOnPlateauLR", **plateau}
    whole, resumed, said = tmp_path / "whole", tmp_path / "resumed", []
    train(cluster, config, whole, say=said.append, evaluate=evaluate)
    rate = config.optim_wrapper.optimizer.lr
    assert [line["lr"] for line in of_kind(read(whole / METRICS_FILE), "train")] == [rate] * 3 + [rate / 2] * 2
    assert [line for line in said if "the learning rate falls to 0.5 of what it is (param_scheduler[0])" in line]
    train(cluster, config, resumed, whole / "step_4.safetensors", evaluate=evaluate)
    assert [line["lr"] for line in of_kind(read(resumed / METRICS_FILE), "train")] == [rate / 2]
    last, again = (checkpoint.load(checkpoint.latest(folder)) for folder in (whole, resumed))
    assert content(last) == content(again)
