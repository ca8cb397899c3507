"""The log of a run: lines, TensorBoard events, resuming."""

import json
import math
import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from shared.terminal import LOG
from trainer.training import events
from trainer.training.log import Progress, evaluated_at, read


def lines_of(work_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]


def run(work_dir: Path, first: int, last: int, **options: int) -> None:
    progress = Progress(work_dir, total_steps=10, steps_per_epoch=5, interval=2, **options)
    for step in range(first, last + 1):
        progress.train(step, {"loss": float(step), "loss_rpn": 1.0}, 0.1 / step, 4, 0.1, 0.5, 2**30)
        if step % 5 == 0:
            progress.evaluation(step, {"coco": {"AR@100": np.float32(0.25)}})
    progress.close()


def test_a_line_holds_the_means_since_the_last_one(tmp_path: Path) -> None:
    run(tmp_path, 1, 2)
    assert lines_of(tmp_path) == [
        {
            "kind": "train",
            "step": 2,
            "epoch": 1,
            "loss": 1.5,
            "loss_rpn": 1.0,
            "lr": 0.05,
            "images_per_second": 8.0,
            "data_wait_share": pytest.approx(0.2),
            "step_seconds": 0.5,
            "device_bytes": 2**30,
        }
    ]


def test_the_last_step_is_logged_also_between_two_intervals(tmp_path: Path) -> None:
    progress = Progress(tmp_path, total_steps=3, steps_per_epoch=3, interval=2)
    for step in (1, 2, 3):
        progress.train(step, {"loss": 1.0}, 0.1, 1, 0.0, 1.0, 0)
    progress.close()
    assert [line["step"] for line in lines_of(tmp_path)] == [2, 3]


def test_where_there_is_a_card_its_memory_is_beside_jittors(tmp_path: Path, capfd) -> None:
    progress = Progress(tmp_path, total_steps=1, steps_per_epoch=1, interval=1)
    progress.train(1, {"loss": 1.0}, 0.1, 1, 0.0, 1.0, 2**30, (3 * 2**30, 80 * 2**30))
    progress.close()
    assert lines_of(tmp_path)[0]["card_bytes"] == 3 * 2**30
    assert "memory 1.00 GiB (card 3.00 of 80.00)" in capfd.readouterr().err


def test_an_evaluation_has_a_line_with_its_step_epoch_and_name(tmp_path: Path) -> None:
    run(tmp_path, 1, 5)
    assert lines_of(tmp_path)[-1] == {"kind": "val", "step": 5, "epoch": 1, "name": "coco", "AR@100": 0.25}


def test_the_log_knows_after_which_steps_there_was_an_evaluation(tmp_path: Path) -> None:
    assert not evaluated_at(tmp_path, 5)
    run(tmp_path, 1, 6)
    assert evaluated_at(tmp_path, 5) and not evaluated_at(tmp_path, 6)


def test_logs_that_cannot_be_written_end_no_training_and_their_lines_follow_later(tmp_path: Path, capfd) -> None:
    progress = Progress(tmp_path, total_steps=20, steps_per_epoch=10, interval=1)
    (tmp_path / "metrics.jsonl").mkdir()
    (tmp_path / "tensorboard").touch()
    for step in range(1, 11):
        progress.train(step, {"loss": 1.0}, 0.1, 4, 0.1, 0.5, 0)
    said = capfd.readouterr().err
    assert said.count(f"cannot write {tmp_path}/metrics.jsonl: Is a directory; the run continues") == 10
    assert said.count(f"cannot write {tmp_path}/tensorboard/events.out.tfevents.") == 10
    (tmp_path / "metrics.jsonl").rmdir()
    (tmp_path / "tensorboard").unlink()
    progress.train(11, {"loss": 1.0}, 0.1, 4, 0.1, 0.5, 0)
    progress.close()
    assert [line["step"] for line in lines_of(tmp_path)] == list(range(1, 12))
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert events.read_bytes().count(b"train/loss") == 11


def test_a_line_that_is_incomplete_at_the_end_of_a_metrics_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "val", "step": 5}\n{"kind": "val", "st')
    assert evaluated_at(tmp_path, 5)
    assert read(tmp_path / "metrics.jsonl") == [{"kind": "val", "step": 5}]


def test_a_metric_that_is_not_a_number_is_null(tmp_path: Path) -> None:
    progress = Progress(tmp_path, 10, 5, 2)
    progress.evaluation(5, {"coco": {"AP_small": math.nan}})
    progress.close()
    assert lines_of(tmp_path)[0]["AP_small"] is None


def test_a_resumed_run_cuts_later_lines_and_the_log_is_that_of_a_straight_one(tmp_path: Path) -> None:
    run(tmp_path / "straight", 1, 10)
    run(tmp_path / "resumed", 1, 8)
    with open(tmp_path / "resumed" / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "step": 9, "lo')
    run(tmp_path / "resumed", 7, 10, start_step=6)
    assert lines_of(tmp_path / "resumed") == lines_of(tmp_path / "straight")


def test_without_a_terminal_every_log_is_a_plain_line_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    run(tmp_path, 1, 5)
    out, err = capfd.readouterr()
    assert out == ""
    assert "\r" not in err
    first, _, evaluation = err.splitlines()
    assert first.startswith("epoch 1/2  step 2/10  loss 1.5  loss_rpn 1  lr 0.05  8.0 images/s  data wait 20%")
    assert first.endswith("memory 1.00 GiB  remaining 00:04")
    assert evaluation == "epoch 1/2  step 5/10  evaluation of coco: AR@100 0.25"


def test_on_a_terminal_there_is_a_bar_and_the_log_file_has_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, terminal = pty.openpty()
    monkeypatch.setenv(LOG, str(tmp_path / "log.txt"))
    with os.fdopen(terminal, "w") as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        run(tmp_path, 1, 5)
        shown = os.read(master, 1 << 16).decode()
    os.close(master)
    assert "5/10" in shown and "step 2/10" not in shown
    first, _, evaluation = (tmp_path / "log.txt").read_text().splitlines()
    assert first.startswith("epoch 1/2  step 2/10  loss 1.5  loss_rpn 1  lr 0.05")
    assert evaluation == "epoch 1/2  step 5/10  evaluation of coco: AR@100 0.25"


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import (
        Event,  # only now: imported before trainer.training.log it would import torch
    )

    run(tmp_path, 1, 5)
    (path,) = (tmp_path / "tensorboard").iterdir()
    content, found = path.read_bytes(), {}
    while content:  # a TFRecord: length u64, its checksum u32, the event, its checksum u32
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        content = content[16 + length :]
    assert found[("train/loss", 2)] == 1.5
    assert found[("train/loss", 4)] == 3.5
    assert found[("val/coco/AR_100", 5)] == 0.25  # TensorBoard's tags know no @


def test_events_are_read_up_to_the_first_that_is_not_whole_and_the_rest_later(tmp_path: Path) -> None:
    run(tmp_path, 1, 5)
    (path,) = (tmp_path / "tensorboard").iterdir()
    content, growing = path.read_bytes(), tmp_path / "growing"
    whole, end = events.read(path, 0)
    assert [one.step for one in whole] == [2, 4, 5] and end == len(content)
    growing.write_bytes(content[:-1])
    found, place = events.read(growing, 0)
    assert found == whole[:2] and events.read(growing, place) == ([], place)
    growing.write_bytes(content)
    assert events.read(growing, place) == (whole[2:], end)
    assert whole[0].numbers["train/lr"] == 0.05 and whole[2].numbers == {"val/coco/AR_100": 0.25}


@pytest.mark.slow
def test_the_log_hides_no_torch_that_is_loaded_and_loads_none() -> None:
    code = """
        import sys, types
        if loaded := sys.argv[1] == "loaded":
            sys.modules["torch"] = types.ModuleType("torch")
        import trainer.training.log
        assert ("torch" in sys.modules) == loaded, sys.modules.get("torch")
        assert not any(name.startswith("torch.") for name in sys.modules)
        try:
            import trainer.device
        except Exception as error:
            print(error)
    """
    for state, says in (("loaded", "torch is loaded in the trainer's process"), ("not loaded", "")):
        command = [sys.executable, "-c", textwrap.dedent(code), state]
        done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(says) and bool(done.stdout) == bool(says), done.stdout
