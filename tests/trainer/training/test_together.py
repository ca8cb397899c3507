"""Several ranks' training: its turns, and that it is the training of one rank with more batches in an update."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster import PATIENCE, ROOT
from tests.trainer.demo_data import generate
from tests.trainer.runs import Run
from trainer.training.together import turn
from trainer.weights import checkpoint

END_SECONDS = 5.0
MOVING = f"""
_base_ = {str(ROOT / "configs/demo/cln.py")!r}
model = dict(data_preprocessor=dict(batch_augments=[
    dict(type='BatchSyncRandomResize', random_size_range=(96, 224), interval=2)
]))
param_scheduler = [dict(type='LinearMomentum', start_factor=0.2, by_epoch=False)]
custom_imports = dict(imports=['tests.trainer.training.weighing_metric'])
val_evaluator = dict(_delete_=True, type='Weighing')
test_evaluator = dict(_delete_=True, type='Weighing')
"""
SAVED_EVERY = 3  # batches: a checkpoint falls between two updates of two
STEPS = 9
VAL_IMAGES = 3  # an image a batch: rank 0 has two of them
MEASURED = ("images_per_second", "data_wait_share", "step_seconds", "device_bytes")  # differ from run to run


def turns(size: int, counts: int, total: int, stops: Callable[[int], bool], step: int = 0) -> list[range]:
    found = []
    while step < total:
        found.append(turn(step, size, counts, total, stops))
        step = found[-1].stop
    return found


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 60), st.sets(st.integers(1, 60)), st.integers(0, 59))
@settings(max_examples=200, deadline=None)
def test_turns_have_every_batch_once_and_none_goes_past_an_update_or_a_stop(size, per_rank, total, stops, start):
    counts, start = size * per_rank, min(start, total - 1)
    found = turns(size, counts, total, stops.__contains__, start)
    assert [number for one in found for number in one] == list(range(start, total))
    for one in found:
        assert len({number % size for number in one}) == len(one), "a rank has two batches in a turn"
        assert not any(end in stops or end % counts == 0 for end in range(one.start + 1, one.stop))


def test_without_stops_every_turn_has_a_batch_for_every_rank() -> None:
    assert turns(3, 6, 12, lambda _: False) == [range(0, 3), range(3, 6), range(6, 9), range(9, 12)]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("scenes") / "demo", train_images=18, val_images=VAL_IMAGES)


def start(
    work_dir: Path,
    data_root: Path,
    *arguments: str,
    ranks: int = 1,
    counts: int = 1,
    evaluates: bool = False,
    **options,
) -> Run:
    options = {
        **({} if evaluates else {"val_evaluator": None, "test_evaluator": None}),
        "default_hooks.checkpoint.by_epoch": False,
        "default_hooks.checkpoint.interval": SAVED_EVERY,
        "optim_wrapper.accumulative_counts": counts,
        **options,
    }
    words = ("train", "--workers", "1", "--data-server", "embedded", *arguments)
    return Run(work_dir, data_root, *words, ranks=ranks, **options)


def outcome(run: Run) -> tuple[list[dict], dict[str, bytes], dict]:
    """What a run has logged of every batch, its weights and optimizer's state, and where it stands."""
    lines = [{key: value for key, value in line.items() if key not in MEASURED} for line in run.training_lines()]
    saved = checkpoint.load(checkpoint.latest(run.work_dir))
    arrays = {name: array.tobytes() for name, array in saved.model.items()}
    return lines, arrays | {f"optimizer {name}": one.tobytes() for name, one in saved.optimizer.items()}, saved.cursor


def evaluated(run: Run) -> list[dict]:
    lines = map(json.loads, (run.work_dir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "val"]


def assert_gone(run: Run) -> None:
    """All that mpirun has started, and what that has started, is gone within seconds."""
    _, alive = psutil.wait_procs(run.processes, timeout=END_SECONDS * PATIENCE)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def scaled(config: Path, base: int) -> dict[str, object]:
    """Ranks count for auto_scale_lr, accumulated batches do not."""
    rules = {"auto_scale_lr.enable": True, "auto_scale_lr.base_batch_size": base, "val_dataloader.batch_size": 1}
    return rules | {"config": str(config), "evaluates": True}


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config with images of drawn sizes, and with a momentum that is another one in each step."""
    config = tmp_path_factory.mktemp("config") / "moving.py"
    config.write_text(MOVING)
    return config


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_root: Path, moving: Path) -> Run:
    """One rank with two batches in an update."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        run = start(tmp_path_factory.mktemp("whole") / "work", data_root, counts=2, **scaled(moving, 16))
        try:
            assert run.end() == 0, run.text
        finally:
            run.kill()
    return run


@pytest.mark.long
@pytest.mark.timeout(1800)  # three trainings, one after the other, with Jittor's start each
def test_two_ranks_that_one_rank_resumes_are_one_rank_with_twice_the_batches_in_an_update(
    tmp_path: Path, data_root: Path, whole: Run, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lives = [run := start(tmp_path / "ranks", data_root, ranks=2, **scaled(moving, 32))]
    try:
        run.until_step(SAVED_EVERY + 2)
        assert len(run.ranks()) == 2 and run.data_server() in run.ranks()[0].children()
        run.process.send_signal(signal.SIGUSR1)
        assert run.end() == 0, run.text
        assert run.text.count("auto_scale_lr: lr times 2 x 4 / 32 = 0.25 (ranks x") == 1
        assert run.text.count("SIGUSR1: checkpoint written at step") == 1
        assert "rank 1" not in run.text, "it says the same as rank 0"
        assert_gone(run)

        lives.append(run := start(tmp_path / "ranks", data_root, "--resume", counts=2, **scaled(moving, 16)))
        assert run.end() == 0, run.text
        assert "resumed from" in run.text and "warning" not in run.text
    finally:
        for life in lives:
            life.kill()
    expected, found = outcome(whole), outcome(run)
    assert len(expected[0]) == STEPS
    assert found[0] == expected[0]
    assert [name for name in expected[1] if found[1].get(name) != expected[1][name]] == []
    assert found[2] == expected[2]
    assert evaluated(run) == evaluated(whole) != []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_evaluation_of_two_ranks_has_the_metrics_of_one(
    tmp_path: Path, data_root: Path, whole: Run, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They resume a run that was ended in its evaluation."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shutil.copytree(whole.work_dir, tmp_path / "ranks")
    log = tmp_path / "ranks" / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if json.loads(line)["kind"] == "train"))
    run = start(tmp_path / "ranks", data_root, "--resume", ranks=2, **scaled(moving, 32))
    try:
        assert run.end() == 0, run.text
        assert_gone(run)
    finally:
        run.kill()
    assert outcome(run)[0] == outcome(whole)[0], "nothing was trained"
    assert evaluated(run) == evaluated(whole)
    assert all(one["images"] == VAL_IMAGES and one["weight"] > 0 for one in evaluated(run)) and evaluated(run)
