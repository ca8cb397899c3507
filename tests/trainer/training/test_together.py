"""Several ranks' training: its turns, and that it is the training of one rank with more batches in an update."""

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
"""
SAVED_EVERY = 3  # batches: a checkpoint falls between two updates of two
STEPS = 9
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
    return generate(tmp_path_factory.mktemp("scenes") / "demo", train_images=18, val_images=2)


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


def assert_gone(run: Run) -> None:
    """All that mpirun has started, and what that has started, is gone within seconds."""
    _, alive = psutil.wait_procs(run.processes, timeout=END_SECONDS * PATIENCE)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # three trainings, one after the other, with Jittor's start each
def test_two_ranks_that_one_rank_resumes_are_one_rank_with_twice_the_batches_in_an_update(
    tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With images of drawn sizes, and with a momentum that is another one in each step."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "moving.py").write_text(MOVING)

    def scaled(base: int) -> dict[str, object]:  # ranks count for auto_scale_lr, accumulated batches do not
        rules = {"auto_scale_lr.enable": True, "auto_scale_lr.base_batch_size": base}
        return rules | {"config": str(tmp_path / "moving.py")}

    lives = [whole := start(tmp_path / "whole", data_root, counts=2, **scaled(16))]
    try:
        assert whole.end() == 0, whole.text
        lives.append(run := start(tmp_path / "ranks", data_root, ranks=2, **scaled(32)))
        run.until_step(SAVED_EVERY + 2)
        assert len(run.ranks()) == 2 and run.data_server() in run.ranks()[0].children()
        run.process.send_signal(signal.SIGUSR1)
        assert run.end() == 0, run.text
        assert run.text.count("auto_scale_lr: lr times 2 x 4 / 32 = 0.25 (ranks x") == 1
        assert run.text.count("SIGUSR1: checkpoint written at step") == 1
        assert "rank 1" not in run.text, "it says the same as rank 0"
        assert_gone(run)

        lives.append(run := start(tmp_path / "ranks", data_root, "--resume", counts=2, **scaled(16)))
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
