"""Trainings that are killed at random and resumed, with another number of workers each time: the losses of every step
and the bytes of all weights are those of a run that nobody disturbed.

    a life ──► a random moment: starting, training, saving ──► kill -9 of the trainer ──► the next life, --resume ...
                                       the last one comes to the end ──► compared with an undisturbed run
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.demo_data import generate
from tests.trainer.runs import Run
from trainer.weights import checkpoint

KILLS = 20
SEED = 12  # its first kill comes after some steps
STEPS_PER_EPOCH = 9
SAVED_EVERY = 2  # steps
ALONE = (SAVED_EVERY + 1, 2 * SAVED_EVERY)  # steps, from least to most, that a life has before it is killed in training
STEPS_PER_KILL = 5  # so that there is always something left to kill
PAUSE = 0.3  # seconds at most, long before there is a step: nothing here depends on how fast a step is
POLL = 0.005
EARLY = ("before it says a word", "when Jittor is there")
OPTIONS: dict[str, object] = {
    "train_cfg.val_interval": 10_000,
    "val_evaluator": None,
    "test_evaluator": None,
    "default_hooks.checkpoint.by_epoch": False,
    "default_hooks.checkpoint.interval": SAVED_EVERY,
    "default_hooks.checkpoint.max_keep_ckpts": 2,
}
MEASURED = ("images_per_second", "data_wait_share", "step_seconds", "device_bytes")  # differ from run to run


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("scenes") / "demo", train_images=18, val_images=2)


class Training:
    """A training of `stage` in a folder, and all its lives."""

    def __init__(self, stage: str, work_dir: Path, data_root: Path, epochs: int) -> None:
        self._stage, self._work_dir, self._data_root, self.epochs = stage, work_dir, data_root, epochs

    def live(self, workers: int, *arguments: str) -> Run:
        """Starts a life."""
        proposals = {
            f"train_dataloader.dataset.datasets.{k}.proposal_file": self._data_root / "proposals" for k in (0, 1)
        }
        config, options = {"stage_1": ("cln.py", {}), "stage_2": ("stage_2.py", proposals)}[self._stage]
        words = ("train", "--workers", str(workers), *arguments)
        return Run(self._work_dir, self._data_root, *words, epochs=self.epochs, config=config, **OPTIONS, **options)

    def outcome(self, run: Run) -> tuple[list[dict[str, Any]], dict[str, bytes], dict[str, int], dict[str, Any]]:
        """What a run has logged of every step; weights and optimizer's state; where it stands; what it has been fed."""
        lines = [{key: value for key, value in line.items() if key not in MEASURED} for line in run.training_lines()]
        saved = checkpoint.load(self._work_dir / f"epoch_{self.epochs}.safetensors")
        arrays = {name: array.tobytes() for name, array in saved.model.items()}
        arrays |= {f"optimizer {name}": array.tobytes() for name, array in saved.optimizer.items()}
        return lines, arrays, saved.cursor, saved.meta["stream"]


def kill_at_random(run: Run, chance: random.Random) -> str:
    """Kills the trainer alone; what it has started follows by itself. Returns in which moment."""
    steps = len(run.steps())
    wanted = steps + chance.randint(*ALONE)
    moments = {
        EARLY[0]: lambda: True,
        EARLY[1]: lambda: "[trainer " in run.text,
        "when it has a stream": lambda: "data: " in run.text,
        "after some steps": lambda: len(run.steps()) >= wanted,
        "in a checkpoint": lambda: (run.work_dir / checkpoint.PARTIAL).exists() or len(run.steps()) >= wanted,
    }
    moment = chance.choice([*moments, "after some steps", "in a checkpoint"])
    while not moments[moment]():  # for ever, if need be: the suite has a limit for hangs
        assert run.process.poll() is None, f"ended with {run.process.returncode} before it could be killed:\n{run.text}"
        time.sleep(POLL)
    if moment in EARLY:
        time.sleep(chance.uniform(0, PAUSE))
    run.look()
    assert run.process.poll() is None, f"ended with {run.process.returncode} before it could be killed:\n{run.text}"
    run.process.kill()
    run.process.wait()
    run.assert_nothing_left()
    return f"{moment}, {len(run.steps())} steps"


def compare_with_an_undisturbed_run(stage: str, kills: int, seed: int, folder: Path, data_root: Path) -> None:
    chance = random.Random(seed)
    epochs = 2 + STEPS_PER_KILL * kills // STEPS_PER_EPOCH
    undisturbed = Training(stage, folder / "undisturbed", data_root, epochs)
    whole = undisturbed.live(2)
    try:
        assert whole.process.wait() == 0, whole.text
    finally:
        whole.kill()
    expected = undisturbed.outcome(whole)
    assert len(expected[0]) == epochs * STEPS_PER_EPOCH

    killed = Training(stage, folder / "killed", data_root, epochs)
    resumed = 0
    for number in range(kills + 1):
        run = killed.live(chance.choice((1, 2, 3)), "--resume")
        try:
            if number < kills:
                print(f"{stage}, kill {number + 1}: {kill_at_random(run, chance)}", flush=True)
            else:
                assert run.process.wait() == 0, run.text
                run.assert_nothing_left()
            resumed += "resumed from" in run.text
        finally:
            run.kill()
    lines, arrays, *rest = killed.outcome(run)
    assert resumed, "every life began at the beginning"
    assert lines == expected[0]
    differing = [name for name in expected[1] if arrays.get(name) != expected[1][name]]
    assert not differing and arrays.keys() == expected[1].keys(), differing
    assert rest == list(expected[2:])
    print(f"{stage}: {kills} kills, {resumed} lives resumed, {len(lines)} steps and {len(arrays)} arrays alike")


@pytest.mark.chaos
@pytest.mark.timeout(1800)  # three trainings, one after the other, with Jittor's start each
@pytest.mark.parametrize("stage", ["stage_1", "stage_2"])
def test_a_kill_and_other_workers_change_no_loss_and_no_weight(stage: str, tmp_path: Path, data_root: Path) -> None:
    compare_with_an_undisturbed_run(stage, 1, SEED, tmp_path, data_root)


@pytest.mark.chaos
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("stage", ["stage_1", "stage_2"])
def test_twenty_kills_and_other_workers_change_no_loss_and_no_weight(
    stage: str, tmp_path: Path, data_root: Path
) -> None:
    compare_with_an_undisturbed_run(stage, KILLS, SEED, tmp_path, data_root)
