"""What a step's folder holds is never taken for the work of other settings, whenever a kill comes."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from shared.errors import UserError
from tests.trainer.runs import ROOT
from trainer.process.interrupt import Interrupt
from trainer.recipe import runner, steps
from trainer.recipe.runner import FINGERPRINT_FILE, Runner
from trainer.recipe.state import DONE, RUNNING, State

CONFIG = str(ROOT / "configs" / "demo" / "cln.py")
WEIGHTS = "epoch_1.safetensors"


class Killed(BaseException):
    pass


class Recipe:
    """A train step whose process leaves its learning rate for weights, and resumes from those that are there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.work_dir = folder / "recipe.py", folder / "work"
        self.work_dir.mkdir()
        self.folder = self.work_dir / "stage"
        self.said: list[str] = []
        self.ends = True
        monkeypatch.setattr(Runner, "_wait", self._train)

    def start(self, rate: float) -> None:
        options = {"train_cfg.max_epochs": 1, "optim_wrapper.optimizer.lr": rate}
        self.path.write_text(f"steps = [dict(name='stage', task='train', config={CONFIG!r}, options={options})]\n")
        interrupt = Interrupt.__new__(Interrupt)  # without handlers of signals, which are pytest's here
        interrupt.signal = None
        self.said = []
        Runner(steps.read(str(self.path), {}), self.work_dir, [], self.said.append, interrupt).run()

    def _train(self, command: list[str], _: Path) -> int:
        config = Config.fromfile(dict(pairwise(command))["--config"])
        (self.folder / "last_checkpoint").write_text("begun")
        if not self.ends:
            raise Killed
        if not (self.folder / WEIGHTS).exists():
            (self.folder / WEIGHTS).write_text(str(config.optim_wrapper.optimizer.lr))
        return 0

    @property
    def weights(self) -> str:
        return (self.folder / WEIGHTS).read_text()

    @property
    def entry(self):
        return State(self.work_dir, "").entries["stage"]

    def make_old(self) -> None:
        """Leaves the folder as versions did that knew no fingerprint in it."""
        (self.folder / FINGERPRINT_FILE).unlink()


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)  # no data of the demo in reach
    return Recipe(tmp_path, monkeypatch)


def kill_at(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills this process, so to speak, before its `count`-th change of a file (from 0)."""
    left = [count]

    def mortal(change):
        def changed(*arguments: object, **named: object) -> object:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return change(*arguments, **named)

        return changed

    def torn(folder: Path, **_: object) -> None:
        """Removes a folder file by file, those that say what it is first."""
        for path in sorted(Path(folder).iterdir()):
            mortal(Path.unlink)(path)
        folder.rmdir()

    monkeypatch.setattr(State, "put", mortal(State.put))
    monkeypatch.setattr(runner, "save", mortal(runner.save))
    monkeypatch.setattr(Path, "rename", mortal(Path.rename))
    monkeypatch.setattr(runner, "shutil", SimpleNamespace(rmtree=torn))


@pytest.mark.parametrize("at", range(9))
def test_killed_at_any_change_of_a_file_a_changed_setting_comes_to_its_own_weights(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    recipe.start(0.5)
    assert recipe.weights == "0.5"
    with monkeypatch.context() as patches:
        kill_at(at, patches)
        with pytest.raises(Killed):
            recipe.start(0.25)
    recipe.start(0.25)
    assert recipe.weights == "0.25" and recipe.entry.state == DONE
    assert [path.name for path in recipe.work_dir.iterdir() if path.name.startswith(".")] == []


def test_a_step_that_was_killed_continues_in_its_folder(recipe: Recipe) -> None:
    recipe.ends = False
    with pytest.raises(Killed):
        recipe.start(0.5)
    (recipe.folder / WEIGHTS).write_text("of the killed run")
    recipe.ends = True
    recipe.start(0.5)
    assert ": continues: " in recipe.said[-2] and recipe.weights == "of the killed run"


def test_a_folder_of_another_run_is_not_taken_for_the_finished_one(recipe: Recipe) -> None:
    recipe.start(0.5)
    (recipe.folder / FINGERPRINT_FILE).write_text("of another run\n")
    recipe.start(0.5)
    assert ": starts: " in recipe.said[-2]
    assert (recipe.folder / FINGERPRINT_FILE).read_text().strip() == recipe.entry.fingerprint


@pytest.mark.parametrize("change", ["unchanged", "changed"])
def test_a_folder_that_is_a_link_is_refused_by_name(recipe: Recipe, tmp_path: Path, change: str) -> None:
    recipe.start(0.5)
    shutil.move(recipe.folder, tmp_path / "elsewhere")
    recipe.folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"work/stage is a link; .*move the one that the link names"):
        recipe.start(0.5 if change == "unchanged" else 0.25)
    assert recipe.weights == "0.5"


def test_a_folder_that_cannot_be_emptied_is_named(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.start(0.5)

    def refuse(folder: Path, **options: object) -> None:
        if not options.get("ignore_errors"):
            raise PermissionError(13, "Permission denied", str(folder / WEIGHTS))

    with monkeypatch.context() as patches:
        patches.setattr(runner, "shutil", SimpleNamespace(rmtree=refuse))
        for _ in range(2):
            with pytest.raises(UserError, match=r"cannot remove .*work/stage: Permission denied \(.*\); remove it"):
                recipe.start(0.25)
    recipe.start(0.25)
    assert recipe.weights == "0.25"


def test_a_finished_folder_of_an_earlier_version_is_trusted_by_its_results_alone(recipe: Recipe) -> None:
    recipe.start(0.5)
    recipe.make_old()
    recipe.start(0.5)
    assert "done before" in recipe.said[-1]
    (recipe.folder / WEIGHTS).write_text("other")
    recipe.start(0.5)
    assert ": starts: " in recipe.said[-2] and recipe.weights == "0.5"


def test_an_unfinished_folder_of_an_earlier_version_is_neither_continued_nor_removed(recipe: Recipe) -> None:
    recipe.start(0.5)
    recipe.make_old()
    path = recipe.work_dir / "state.json"
    content = json.loads(path.read_text())
    content["steps"]["stage"] |= {"state": RUNNING, "results": {}}
    path.write_text(json.dumps(content))
    mark = recipe.entry.fingerprint
    with pytest.raises(UserError, match=rf"work/stage does not say what it was made from .*write {mark} to that file"):
        recipe.start(0.5)
    assert recipe.weights == "0.5"
    (recipe.folder / FINGERPRINT_FILE).write_text(mark + "\n")
    recipe.start(0.5)
    assert ": continues: " in recipe.said[-2]
