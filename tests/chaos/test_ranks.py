"""The long form of what several ranks do: ``make ranks``. Kills of any rank at any moment, three and four ranks, other
shares of ranks and accumulation, evaluation, and what a failing rank leaves.

A run of N ranks is compared with a run of one rank that has N times as many batches in an update: every line of its
log, every byte of its checkpoint.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.cluster import PATIENCE
from tests.trainer.demo_data import generate
from tests.trainer.runs import DEADLINE, ROOT, Run
from tests.trainer.training.test_together import END_SECONDS, assert_gone, evaluated, outcome, start
from trainer.weights import checkpoint

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(7200)]

KILLS = 20
SEED = 5
EPOCHS = 3  # of 11 batches: an epoch ends between two turns, and between two updates
POLL = 0.01


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("scenes") / "demo", train_images=22, val_images=6)


@pytest.fixture(autouse=True)
def one_thread_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def of_stage(stage: str, data_root: Path) -> dict[str, object]:
    """Stage 1 is evaluated, and keeps an average of its weights."""
    if stage == "stage_1":
        config = data_root / "averaged.py"
        hook = "dict(type='EMAHook', momentum=0.1, begin_iter=3)"
        config.write_text(f"_base_ = {str(ROOT / 'configs/demo/cln.py')!r}\ncustom_hooks = [{hook}]\n")
        return {"config": str(config), "evaluates": True}
    splits = ("train_dataloader.dataset.datasets.0", "train_dataloader.dataset.datasets.1", "val_dataloader.dataset")
    return {"config": "stage_2.py"} | {f"{split}.proposal_file": data_root / "proposals" for split in splits}


def done(run: Run) -> Run:
    try:
        assert run.end(DEADLINE * PATIENCE) == 0, run.text
        assert_gone(run)
    finally:
        run.kill()
    return run


@pytest.mark.parametrize("stage", ["stage_1", "stage_2"])
@pytest.mark.parametrize(("ranks", "counts"), [(2, 1), (3, 1), (4, 1), (2, 2)])
def test_ranks_are_one_rank_that_accumulates_bit_for_bit(
    stage: str, ranks: int, counts: int, tmp_path: Path, data_root: Path
) -> None:
    options = of_stage(stage, data_root) | {"epochs": EPOCHS}
    one = done(start(tmp_path / "one", data_root, counts=ranks * counts, **options))
    several = done(start(tmp_path / "several", data_root, ranks=ranks, counts=counts, **options))
    assert outcome(several) == outcome(one)
    assert evaluated(several) == evaluated(one)
    assert bool(evaluated(one)) == (stage == "stage_1")


def test_any_rank_may_be_killed_at_any_moment(tmp_path: Path, data_root: Path) -> None:
    chance = random.Random(SEED)
    options = {"epochs": 12}
    whole = done(start(tmp_path / "whole", data_root, ranks=2, **options))
    resumed = 0
    for number in range(KILLS):
        run = start(tmp_path / "killed", data_root, "--resume", ranks=2, **options)
        try:
            victim, steps = chance.randrange(2), len(run.steps()) + chance.choice((0, 0, 4, 5, 6, 7, 8))
            run.until(lambda run=run: len(run.ranks()) == 2, "two ranks")
            pause = chance.uniform(0, 8) if steps == len(run.steps()) else 0.0
            run.until(lambda run=run, steps=steps: len(run.steps()) >= steps, f"{steps} steps")
            time.sleep(pause)
            if run.process.poll() is not None:
                break  # it has come to the end
            run.look()
            run.ranks()[victim].kill()
            started = time.monotonic()
            assert run.end() != 0, run.text
            assert_gone(run)
            assert time.monotonic() - started < END_SECONDS * PATIENCE
            print(f"kill {number + 1}: rank {victim} at {len(run.steps())} steps")
        finally:
            resumed += "resumed from" in run.text
            run.kill()
    last = done(start(tmp_path / "killed", data_root, "--resume", ranks=2, **options))
    assert resumed and outcome(last) == outcome(whole)


def test_a_rank_that_raises_ends_the_run_with_its_line(tmp_path: Path, data_root: Path) -> None:
    run = start(tmp_path / "run", data_root, ranks=2, program="tests.trainer.training.failing_rank")
    try:
        run.until(lambda: "RuntimeError: of rank 1" in run.text, "the exception of rank 1")
        started = time.monotonic()
        assert run.end() == 1, run.text
        assert_gone(run)
        assert time.monotonic() - started < END_SECONDS * PATIENCE
    finally:
        run.kill()


def test_a_data_server_that_dies_leaves_a_checkpoint_of_all_ranks(tmp_path: Path, data_root: Path) -> None:
    run = start(tmp_path / "run", data_root, ranks=2, epochs=20)
    try:
        run.until_step(4)
        run.data_server().send_signal(signal.SIGKILL)
        assert run.end() == 1, run.text
        assert_gone(run)
    finally:
        run.kill()
    assert "it was embedded in this trainer; checkpoint written at step" in run.text
    whole = done(start(tmp_path / "whole", data_root, ranks=2))
    last = done(start(tmp_path / "run", data_root, "--resume", ranks=2))
    assert outcome(last)[0][: len(outcome(whole)[0])] == outcome(whole)[0]


def test_a_rank_that_cannot_predict_its_images_ends_an_evaluation_of_all(tmp_path: Path, data_root: Path) -> None:
    images = tmp_path / "val_base"
    shutil.copytree(data_root / "val_base", images)
    (broken := sorted(images.iterdir())[1]).write_bytes(b"no image")  # the second batch is rank 1's
    splits = {"val_dataloader.batch_size": 1, "val_dataloader.dataset.data_prefix.img": images}
    run = start(tmp_path / "run", data_root, ranks=2, evaluates=True, **splits)
    try:
        assert run.end() == 2, run.text
        assert_gone(run)
    finally:
        run.kill()
    assert re.search(rf"\[trainer rank 1 .*error: .*{broken.name}", run.text), run.text
    assert checkpoint.load(checkpoint.latest(run.work_dir)).cursor == {"epoch": 1, "step": 0}


def test_other_ranks_with_other_updates_are_refused(tmp_path: Path, data_root: Path) -> None:
    done(start(tmp_path / "run", data_root, ranks=2))
    run = start(tmp_path / "run", data_root, "--resume", epochs=2)
    try:
        assert run.end() == 2, run.text
    finally:
        run.kill()
    assert "2 ranks wrote it, with 2 batches in an update; 1 with accumulative_counts=1 would have 1" in run.text
