"""W&B has what TensorBoard has, whatever ends the training, and no failure of W&B's reaches the training."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from shared.errors import UserError
from tests.cluster import PATIENCE, wait_for
from tests.trainer.reporting.weights_and_biases.files import TAG, assert_same, in_tensorboard, records, rows
from tests.trainer.reporting.weights_and_biases.training import STEPS, config_of, sheet, train
from trainer.process.interrupt import Interrupt
from trainer.reporting.weights_and_biases.follower import WRITTEN_SECONDS, Follower, Trail
from trainer.tasks import Request
from trainer.tasks import train as train_task
from trainer.training.events import FOLDER, Events

MARK = "TEST_OF_W_AND_B"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in filter(lambda name: name.startswith("WANDB_"), list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no login of this machine's user
    monkeypatch.setenv(MARK, str(tmp_path))


def left(tmp_path: Path) -> list[psutil.Process]:
    """Processes that the test has started and are there."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.pid != os.getpid() and process.environ().get(MARK) == str(tmp_path)
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            pass
    return found


def kill_all(tmp_path: Path) -> None:
    for one in left(tmp_path):
        with contextlib.suppress(psutil.NoSuchProcess):  # the end of one may be another's
            one.kill()


def begun(work_dir: Path, first: int, last: int) -> subprocess.Popen[str]:
    """A training in a process of its own, once it has logged those steps and W&B follows it."""
    words = ["-m", "tests.trainer.reporting.weights_and_biases.training", str(work_dir), str(first), str(last)]
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen = ""
    while f"step {last}/" not in seen or "to send it: wandb sync" not in seen:
        line = process.stderr.readline()
        assert line and "warning" not in line, seen + line
        seen += line
    return process


def test_weights_and_biases_has_each_number_and_picture_of_tensorboards(tmp_path: Path) -> None:
    train(tmp_path, 1, STEPS, Interrupt(), project="p", name="n", tags=["a"], notes="x", config={"mine": 1})
    found = rows(tmp_path / "wandb")
    (first, *_), last = found, in_tensorboard(tmp_path)[-1]
    assert (first["train/loss"], first["train/lr"], first["train/device_bytes"]) == (1.0, 0.1, 169869312)
    assert last.pictures == {TAG: sheet(STEPS)}
    assert_same(tmp_path, found)
    (run,) = (one.run for one in records(tmp_path / "wandb") if one.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name, list(run.tags), run.notes) == ("p", "n", ["a"], "x")
    metrics = [one.metric for one in records(tmp_path / "wandb") if one.WhichOneof("record_type") == "metric"]
    assert [(one.name or one.glob_name, one.step_metric, one.summary.min) for one in metrics] == [
        ("*", "step", False),
        ("train/loss", "step", True),
    ]
    configs = [one.config for one in records(tmp_path / "wandb") if one.WhichOneof("record_type") == "config"]
    written = {item.key: item.value_json for config in configs for item in config.update}
    assert json.loads(written["model"]) == {"type": "X", "size": 3}
    assert not left(tmp_path)


def test_a_training_that_begins_anew_has_a_run_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    old = Events(tmp_path, 1, print)
    old.add({"train/loss": 9.0}, 1)
    old.close()
    (tmp_path / "wandb.json").write_text('{"id": "former", "read": {}}')
    train(tmp_path, 1, STEPS, Interrupt())
    assert json.loads((tmp_path / "wandb.json").read_bytes())["id"] != "former"
    assert len(rows(tmp_path / "wandb")) == 18


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_training_that_is_killed_and_resumed_has_one_run_with_all_its_steps(tmp_path: Path, number: int) -> None:
    """SIGTERM ends the training as it does outside of a step: with all its descendants."""
    process = begun(tmp_path, 1, 6)
    process.send_signal(number)
    process.wait(10 * PATIENCE)
    processes = left(tmp_path)
    train(tmp_path, 5, STEPS, Interrupt())
    assert_same(tmp_path, rows(tmp_path / "wandb"))
    assert [row["step"] for row in rows(tmp_path / "wandb") if "train/loss" in row] == [*range(1, 7), *range(5, 13)]
    kept = json.loads((tmp_path / "wandb.json").read_bytes())
    runs = [one.run for one in records(tmp_path / "wandb") if one.WhichOneof("record_type") == "run"]
    assert {run.run_id for run in runs} == {kept["id"]} and len(runs) == 2
    _, alive = psutil.wait_procs(processes, timeout=2 * PATIENCE)
    assert not alive


@pytest.mark.slow
def test_where_all_is_killed_a_resumed_training_logs_again_what_the_service_may_not_have_written(
    tmp_path: Path,
) -> None:
    process = begun(tmp_path, 1, 6)
    time.sleep(1.5)  # most of it has been logged by then
    kill_all(tmp_path)
    process.wait(10 * PATIENCE)
    train(tmp_path, 7, STEPS, Interrupt())
    assert {row["step"] for row in rows(tmp_path / "wandb") if "train/loss" in row} == set(range(1, 13))


def test_a_process_that_still_finishes_for_an_earlier_training_is_waited_for_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WaitsError(Exception):
        pass

    def wait(descriptor: int, operation: int) -> None:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path / FOLDER) and operation == fcntl.LOCK_EX
        raise WaitsError

    monkeypatch.setattr(fcntl, "flock", wait)
    with pytest.raises(WaitsError):
        Follower({"work_dir": str(tmp_path)}, print)


def test_what_was_logged_counts_as_written_some_time_later() -> None:
    trail = Trail({"old": 7})
    assert trail.add({"old": 7}, 0) is None
    assert trail.add({"old": 7, "new": 1}, 1) is None and trail.add({"old": 7, "new": 2}, 2) is None
    assert trail.last == {"old": 7, "new": 2}
    assert trail.add(trail.last, WRITTEN_SECONDS) is None
    assert trail.add(trail.last, WRITTEN_SECONDS + 1.5) == {"old": 7, "new": 1}
    assert trail.add(trail.last, WRITTEN_SECONDS + 1.9) is None
    assert trail.add(trail.last, WRITTEN_SECONDS + 9) == trail.last


def test_a_folder_that_cannot_be_written_is_one_line_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_DIR", "/dev/null/nowhere")
    train(tmp_path, 1, STEPS, Interrupt())
    (line,) = (line for line in capfd.readouterr().err.splitlines() if not line.startswith("epoch"))
    assert line.startswith("warning: Weights & Biases: cannot write /dev/null/nowhere") and "init_kwargs.dir" in line
    assert line.endswith("; the training goes on without it")
    assert len(in_tensorboard(tmp_path)) == 18 and not left(tmp_path)


@pytest.mark.slow
def test_a_service_that_dies_is_one_line_and_the_training_goes_on(tmp_path: Path) -> None:
    process = begun(tmp_path, 1, 6)
    assert not [one for one in psutil.Process(process.pid).children() if one.status() == psutil.STATUS_ZOMBIE]
    (service,) = (one for one in left(tmp_path) if "wandb-core" in one.name())
    service.kill()
    with (tmp_path / "tensorboard" / "events.out.tfevents.9").open("wb") as file:
        file.write(next((tmp_path / "tensorboard").iterdir()).read_bytes())
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    line = next(line for line in lines if line.startswith("warning"))
    assert "Weights & Biases: " in line and line.endswith("; the training goes on without it\n")
    assert process.poll() is None
    kill_all(tmp_path)
    process.wait(10 * PATIENCE)


@pytest.mark.slow
def test_a_server_that_does_not_answer_keeps_nobody_waiting_and_the_run_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        train(tmp_path, 1, STEPS, Interrupt(), settings={"base_url": url, "init_timeout": 0.5})
    (line,) = (line for line in capfd.readouterr().err.splitlines() if not line.startswith("epoch"))
    assert line.startswith("Weights & Biases: offline (CommError: ") and "to send it: wandb sync" in line
    assert_same(tmp_path, rows(tmp_path / "wandb"))


def test_a_training_that_is_interrupted_does_not_wait_for_it(tmp_path: Path) -> None:
    interrupt = Interrupt()
    interrupt.signal = signal.SIGTERM
    train(tmp_path, 1, STEPS, interrupt)
    assert len(rows(tmp_path / "wandb")) < 18
    wait_for(lambda: len(rows(tmp_path / "wandb")) == 18 and not left(tmp_path), 10)
    assert_same(tmp_path, rows(tmp_path / "wandb"))


def test_the_training_imports_neither_wandb_nor_torch() -> None:
    code = """
        import sys, trainer.tasks.train, trainer.training.log
        assert not {"wandb", "torch"} & set(sys.modules)
        import trainer.reporting.weights_and_biases.follower
        assert "wandb" in sys.modules and "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_without_the_package_a_training_is_over_in_one_line_before_anything_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    request = Request(config_of(), tmp_path / "work", None, Interrupt(), print, argparse.Namespace())
    with pytest.raises(UserError, match=r"needs the package wandb; pip install 'unidetector-jittor\[wandb\]'$"):
        train_task.run(request)
    assert not (tmp_path / "work").exists()
