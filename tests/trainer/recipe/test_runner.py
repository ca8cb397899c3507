"""Which steps a recipe runs and what it says, with made-up results in place of the steps' processes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.trainer.runs import ROOT
from trainer.evaluation.results import RESULTS_FILE
from trainer.process.interrupt import Interrupt
from trainer.recipe import steps
from trainer.recipe.outcome import outcome
from trainer.recipe.runner import Runner
from trainer.vocabulary.calibration import CALIBRATION_FILE

OPEN_WORLD, CONTROLS = (str(ROOT / "configs" / "demo" / f"{name}.py") for name in ("open_world", "controls"))
CONTROL_STEPS = ["stage_2_one_set", "base_one_set", "never_seen_one_set"]


class Runs:
    """Starts of recipes in one work dir: which steps ran, and what was said."""

    def __init__(self, work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.work_dir = work_dir
        work_dir.mkdir()
        self.ran: list[str] = []
        self.said: list[str] = []
        self.commands: dict[str, list[str]] = {}
        monkeypatch.setattr(Runner, "_wait", self._leave_results)

    def start(self, path: str, server_options: Sequence[str] = ()) -> Runner:
        self.ran, self.said, self.commands = [], [], {}
        interrupt = Interrupt.__new__(Interrupt)  # without handlers of signals, which are pytest's here
        interrupt.signal = None
        runner = Runner(steps.read(path, {}), self.work_dir, list(server_options), self.said.append, interrupt)
        assert runner.run()
        return runner

    def _leave_results(self, command: list[str], folder: Path) -> int:
        words, task = dict(pairwise(command)), command[3]
        self.ran.append(folder.name)
        self.commands[folder.name] = command
        if task == "train":
            epochs = Config.fromfile(words["--config"]).train_cfg.max_epochs
            (folder / f"epoch_{epochs}.safetensors").write_text(folder.name)
        elif task == "evaluate":
            split = "val_base" if folder.name.startswith("base") else "val_never_seen"
            metric = "AR@100" if folder.name == "stage_1_recall" else "bbox_mAP"
            (folder / RESULTS_FILE).write_text(json.dumps({"results": {split: {metric: 0.5}}}))
        elif task == "calibrate":
            (folder / CALIBRATION_FILE).write_text(folder.name)
        elif task == "propose":
            (folder / "proposals").mkdir()
            (folder / "proposals" / "x.proposals").write_text(folder.name)
        return 0


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.chdir(tmp_path)  # no data of the demo in reach
    return Runs(tmp_path / "work", monkeypatch)


def test_the_controls_add_their_steps_to_the_demo_and_do_none_of_its_again(runs: Runs) -> None:
    demo = runs.start(OPEN_WORLD)
    assert runs.ran == [step.name for step in demo.recipe.steps] and not set(runs.ran) & set(CONTROL_STEPS)
    controls = runs.start(CONTROLS)
    assert runs.ran == CONTROL_STEPS
    assert controls.recipe.work_dir == demo.recipe.work_dir
    assert list(outcome(controls.recipe, controls.folder).rows) == ["both data sets", "train_a only"]
    runs.start(OPEN_WORLD)
    assert runs.ran == []
    assert list(outcome(demo.recipe, demo.folder).rows) == ["both data sets"]


def test_the_steps_are_listed_with_their_minutes_before_the_first_starts(runs: Runs) -> None:
    runs.start(OPEN_WORLD)
    assert runs.said[0].startswith(
        "Open-world detection on the demo data: 8 of 8 steps to do, about 8 min on two quiet"
    )
    assert "1 stage_1: train, about 2 min" in runs.said[1]
    started = [line.split(": starts:")[0] for line in runs.said if ": starts:" in line]
    assert started[0] == "step 1 of 8, stage_1 (about 2 min; about 8 min left)"
    assert started[-1] == "step 8 of 8, never_seen (less than a minute)"
    runs.start(CONTROLS)
    assert "3 of 11 steps to do, about 2 min" in runs.said[0]
    assert "1 stage_1: train, done" in runs.said[1]
    assert next(line for line in runs.said if ": starts:" in line).startswith("step 9 of 11, stage_2_one_set (about 2 ")


def test_a_step_whose_results_are_gone_runs_again_and_those_after_it_only_if_it_comes_to_others(runs: Runs) -> None:
    runs.start(OPEN_WORLD)
    shutil.rmtree(runs.work_dir / "proposals")
    runs.start(OPEN_WORLD)
    assert runs.ran == ["proposals"]
    assert "step 4 of 8, stage_2: done before" in "\n".join(runs.said)


def test_only_a_step_that_needs_a_data_server_is_told_of_it(runs: Runs, tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "demo" / "cln.py")
    steps_of = f"[dict(name='t', task='train', config={config!r}), dict(name='d', task='describe', config={config!r})]"
    (tmp_path / "recipe.py").write_text(f"steps = {steps_of}\n")
    runs.start(str(tmp_path / "recipe.py"), ["--workers=3"])
    assert "--workers=3" in runs.commands["t"] and "--workers=3" not in runs.commands["d"]
