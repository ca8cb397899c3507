"""Whole runs of ``python -m trainer`` on small demo data: what they leave, and what kills do to them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_server.demo import scenes
from tests.cluster import Cluster
from tests.trainer.runs import END_SECONDS, GONE_SECONDS, ROOT, Run, cmdline
from trainer.device import arithmetic, jt
from trainer.weights import checkpoint


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "demo"
    scenes.generate(out, seed=1, train_images=18, val_images=8)
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_root: Path, long_lived_cluster: Cluster) -> Run:
    """A run of two epochs that ended by itself."""
    run = Run(tmp_path_factory.mktemp("finished"), data_root, epochs=2, server=long_lived_cluster.address)
    assert run.end() == 0, run.text
    return run


@pytest.fixture
def start(tmp_path: Path, data_root: Path, cluster: Cluster):
    """Starts runs in the test's own work dir and kills what is left of them; ``server=None``: each has its own."""
    runs: list[Run] = []

    def begin(*arguments: str, data: Path = data_root, **options: object) -> Run:
        runs.append(Run(tmp_path / "work", data, *arguments, **{"server": cluster.address, **options}))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()


def test_a_run_leaves_checkpoint_metrics_events_and_contact_sheet(finished: Run) -> None:
    loaded = checkpoint.load(checkpoint.latest(finished.work_dir))
    assert loaded.cursor["epoch"] == 2 and loaded.cursor["step"] == 0
    assert all(np.isfinite(array).all() for array in loaded.model.values())
    assert list((finished.work_dir / "tensorboard").glob("events*"))
    with Image.open(finished.work_dir / "contact_sheet.png") as sheet:
        assert sheet.width > 4 * 300
    with Image.open(finished.work_dir / "curves.png") as curves:
        assert curves.width > 1000
    finished.assert_nothing_left()


def test_a_run_logs_every_loss_and_the_share_of_time_it_waited_for_data(finished: Run) -> None:
    lines = [json.loads(line) for line in (finished.work_dir / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in train] == list(range(1, len(train) + 1))
    for name in ("loss_rpn_bbox", "loss_rpn_obj", "loss_cls", "loss_bbox", "loss_bbox_score"):
        assert any(line[name] > 0 for line in train), name
    assert all(0 <= line["data_wait_share"] <= 1 and line["device_bytes"] > 0 for line in train)


def test_the_table_shows_recall_on_seen_and_never_seen_names_side_by_side(finished: Run) -> None:
    lines = [json.loads(line) for line in (finished.work_dir / "metrics.jsonl").read_text().splitlines()]
    evaluated = {line["name"]: line for line in lines if line["kind"] == "val"}
    assert evaluated.keys() == {"val_base", "val_never_seen"}
    for line in evaluated.values():
        assert 0 <= line["AR@10"] <= line["AR@100"] <= line["AR@300"] <= 1
    assert "AR@100" in finished.text and "val_never_seen" in finished.text.splitlines()[-1]


def test_evaluating_a_checkpoint_gives_the_numbers_of_the_run_that_wrote_it(finished: Run, start) -> None:
    saved = checkpoint.latest(finished.work_dir)
    run = start("evaluate", "--checkpoint", str(saved), "--draw")
    assert run.end() == 0, run.text
    assert run.text.splitlines()[-2:] == finished.text.splitlines()[-2:]
    for split in ("val_base", "val_never_seen"):
        assert len(list((run.work_dir / "drawn" / split).glob("*.jpg"))) == 8


def test_an_evaluation_without_a_detection_says_so_and_gives_zeros(finished: Run, start) -> None:
    saved = checkpoint.latest(finished.work_dir)
    run = start("evaluate", "--checkpoint", str(saved), **{"model.test_cfg.rcnn.score_thr": 1.5})
    assert run.end() == 0, run.text
    results = json.loads((run.work_dir / "results.json").read_text())["results"]
    assert results.keys() == {"val_base", "val_never_seen"}
    for name, metrics in results.items():
        assert {"AR@10", "AR@100", "AR@300"} <= metrics.keys() and max(metrics.values()) == 0
        assert run.text.count(f"warning: {name}: no detection in any image") == 1
    assert "no detection" not in finished.text


def test_an_evaluation_whose_predictions_have_no_room_ends_before_the_first_image(finished: Run, start) -> None:
    saved = checkpoint.latest(finished.work_dir)
    boxes = shutil.disk_usage(tempfile.gettempdir()).free // (8 * 24) * 2  # of 24 bytes, in each of 8 images
    run = start("evaluate", "--checkpoint", str(saved), **{"model.test_cfg.rcnn.max_per_img": boxes})
    assert run.end() == 2, run.text
    assert f"up to {boxes} boxes in each of 8 images, may take" in run.text.splitlines()[-1]
    assert not list(run.work_dir.glob("predictions_*"))


def test_exported_weights_evaluate_like_the_run_and_start_another(finished: Run, start, tmp_path: Path) -> None:
    weights = tmp_path / "exported.pth"
    exported = start(
        "export", "--checkpoint", str(checkpoint.latest(finished.work_dir)), "--out", str(weights), server=None
    )
    assert exported.end() == 0, exported.text
    run = start("evaluate", "--checkpoint", str(weights))
    assert run.end() == 0, run.text
    assert run.text.splitlines()[-2:] == finished.text.splitlines()[-2:]
    another = start("--checkpoint", str(weights))
    another.until_step(1)
    assert f"weights {weights}: " in another.text and "missing" not in another.text
    before, after = finished.losses(1)[0], another.losses(1)[0]
    assert after["loss_rpn_bbox"] < before["loss_rpn_bbox"]


@pytest.mark.long
def test_a_run_that_was_killed_in_its_last_evaluation_makes_it_when_it_is_resumed(
    finished: Run, start, tmp_path: Path
) -> None:
    log = shutil.copytree(finished.work_dir, tmp_path / "work") / "metrics.jsonl"
    lines = [line for line in log.read_text().splitlines(keepends=True) if json.loads(line)["kind"] == "train"]
    log.write_text("".join(lines))
    run = start("--resume", epochs=2)
    assert run.end() == 0, run.text
    assert run.text.splitlines()[-2:] == finished.text.splitlines()[-2:]
    evaluated = log.read_text().splitlines()[len(lines) :]
    assert [json.loads(line)["name"] for line in evaluated] == ["val_base", "val_never_seen"]
    again = start("--resume", epochs=2)
    assert again.end() == 0, again.text
    assert len(log.read_text().splitlines()) == len(lines) + 2, "what has been evaluated is not evaluated again"


@pytest.mark.skipif(bool(jt.flags.use_cuda), reason="a GPU has no number of threads to choose")
def test_a_run_that_is_resumed_with_another_number_of_threads_says_so(
    finished: Run, start, tmp_path, monkeypatch
) -> None:
    shutil.copytree(finished.work_dir, tmp_path / "work")
    trained = checkpoint.load(checkpoint.latest(finished.work_dir)).meta["arithmetic"]
    assert trained == arithmetic()
    same = start("--resume", epochs=2)
    assert same.end() == 0 and "resumed from" in same.text and "OMP_NUM_THREADS" not in same.text
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    other = start("--resume", epochs=2)
    assert other.end() == 0 and "resumed from" in other.text
    (line,) = [line for line in other.text.splitlines() if "OMP_NUM_THREADS" in line]
    assert f"was trained on {trained}, this is CPU" in line and ", 5 OpenMP threads: " in line


def test_the_frameworks_live_in_different_processes(start) -> None:
    run = start("--workers", "2", epochs=200, server=None)
    run.until_step(2)
    server = run.data_server()
    tree = [server, *server.children(recursive=True)]
    workers = run.workers()
    assert len(workers) == 2
    assert not mapped(run.process.pid, "libtorch")
    for process in tree:
        assert not mapped(process.pid, "jittor"), cmdline(process)
        assert process.environ()["CUDA_VISIBLE_DEVICES"] == ""
    assert all(mapped(worker.pid, "libtorch") for worker in workers)
    assert not mapped(server.pid, "libtorch")


def test_killed_workers_sigterm_and_resume_leave_no_trace_in_the_losses(finished: Run, start) -> None:
    run = start("--workers", "2", epochs=200, server=None)
    run.until_step(2)
    for worker in run.workers():
        worker.kill()
    run.until_step(run.steps()[-1] + 6)  # more than had been made when the workers died
    seconds = run.signal(signal.SIGTERM)
    assert run.process.returncode == 0 and seconds < END_SECONDS, (run.process.returncode, seconds)
    run.assert_nothing_left()
    cursor = checkpoint.load(checkpoint.latest(run.work_dir)).cursor
    done, steps_per_epoch = run.steps()[-1], len(finished.steps()) // 2
    assert cursor["epoch"] * steps_per_epoch + cursor["step"] == done

    resumed = start("--workers", "1", "--resume", epochs=200, server=None)
    resumed.until_step(max(done, 2 * steps_per_epoch) + 1)
    assert f"at step {done}" in resumed.text
    assert resumed.losses(2 * steps_per_epoch) == finished.losses(2 * steps_per_epoch)
    resumed.signal(signal.SIGINT)
    assert resumed.process.returncode == 130
    resumed.assert_nothing_left()


def test_a_run_that_counts_steps_evaluates_and_goes_on_as_if_it_had_not_been_interrupted(
    finished: Run, start, tmp_path: Path, monkeypatch
) -> None:
    steps_per_epoch = len(finished.steps()) // 2
    last = steps_per_epoch + 3  # in the middle of the second time through the data
    config = tmp_path / "in_steps.py"
    config.write_text(
        f"_base_ = {str(ROOT / 'configs/demo/cln.py')!r}\n"
        f"train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={last}, val_interval={last - 2})\n"
        "param_scheduler = [dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50)]\n"
        "default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4))\n"
    )
    monkeypatch.setenv("FAULT", f"client.release:{steps_per_epoch + 1}:SIGTERM")
    run = start(epochs=None, config=config)
    assert run.end() == 0 and f"checkpoint written at step {steps_per_epoch}" in run.text, run.text
    monkeypatch.delenv("FAULT")
    resumed = start("--resume", epochs=None, config=config)
    assert resumed.end() == 0, resumed.text
    assert resumed.steps() == list(range(1, last + 1))
    assert resumed.losses(last) == finished.losses(last)
    lines = (run.work_dir / "metrics.jsonl").read_text().splitlines()
    evaluated = [line["step"] for line in map(json.loads, lines) if line["kind"] == "val"]
    assert evaluated == [last - 2, last - 2, last, last]
    assert checkpoint.latest(run.work_dir) == run.work_dir / f"step_{last}.safetensors"
    assert not list(run.work_dir.glob("epoch_*"))


@pytest.mark.long
def test_a_signal_after_a_batch_has_come_and_before_its_step_loses_neither(finished: Run, start, monkeypatch) -> None:
    monkeypatch.setenv("FAULT", "client.release:3:SIGTERM")
    run = start(epochs=200)
    assert run.end() == 0
    assert run.steps() == [1, 2] and "checkpoint written at step 2" in run.text
    assert checkpoint.load(checkpoint.latest(run.work_dir)).meta["stream"]["last"] == {"epoch": 0, "step": 1}
    monkeypatch.delenv("FAULT")
    resumed = start("--resume", epochs=200)
    resumed.until_step(4)
    assert resumed.losses(4) == finished.losses(4)


def damaged(data: Path, _run: Run) -> None:
    """From now on no picture of the second set is whole."""
    for path in (data / "train_b").iterdir():
        path.write_bytes(path.read_bytes()[:300])


def replaced(data: Path, run: Run) -> None:
    """The labels of one set are others, and the process that holds the old ones dies."""
    content = json.loads((data / "train_a.json").read_text())
    for one in content["annotations"]:
        one["bbox"][0] += 1
    (data / "train_a.json").write_text(json.dumps(content))
    nursery = next(nursery for root in run.data_server().children() for nursery in root.children())
    nursery.kill()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (damaged, r"error: image '.*/train_b/\d+\.jpg': truncated or damaged: .*"),
        pytest.param(
            *(
                replaced,
                r"error: data sets .*/train_a\.json, .*: changed while it was in use: its annotations .*",
            ),
            marks=pytest.mark.long,
        ),
    ],
)
def test_data_that_go_bad_in_mid_epoch_cost_no_step(
    finished: Run, start, data_root: Path, tmp_path: Path, spoil, says
) -> None:
    data = shutil.copytree(data_root, tmp_path / "data")
    run = start("--workers", "1", epochs=200, data=data, server=None)
    run.until_step(2)
    spoil(data, run)
    assert run.process.wait() == 2, run.text
    done, last = run.steps()[-1], run.text.splitlines()[-1]
    assert re.search(rf"{says}; checkpoint written at step {done}$", last), last
    cursor = checkpoint.load(checkpoint.latest(run.work_dir)).cursor
    assert cursor["epoch"] * (len(finished.steps()) // 2) + cursor["step"] == done
    shutil.rmtree(data)
    shutil.copytree(data_root, data)
    resumed = start("--resume", epochs=200, data=data, server=None)
    resumed.until_step(done + 2)
    assert resumed.losses(len(finished.steps()))[: done + 2] == finished.losses(done + 2)


@pytest.mark.long
def test_a_run_that_is_interrupted_between_the_batches_of_an_update_goes_on_to_the_same_weights(
    start, monkeypatch
) -> None:
    threes = {"epochs": 2, "optim_wrapper.accumulative_counts": 3}
    undisturbed = start(**threes)
    assert undisturbed.end() == 0, undisturbed.text
    expected = checkpoint.load(checkpoint.latest(undisturbed.work_dir))
    losses = undisturbed.losses(100)
    shutil.rmtree(undisturbed.work_dir)

    monkeypatch.setenv("FAULT", "client.release:3:SIGTERM")
    run = start(**threes)
    assert run.end() == 0 and "checkpoint written at step 2" in run.text, run.text
    saved = checkpoint.load(checkpoint.latest(run.work_dir)).optimizer
    assert saved["waiting_share"].tolist() == [2, 3] and any(name.endswith(".gradient") for name in saved)
    monkeypatch.delenv("FAULT")
    refused = start("--resume", **threes | {"optim_wrapper.accumulative_counts": 4})
    assert refused.end() == 2 and "has the gradients of 2 of 3 batches of an update" in refused.text.splitlines()[-1]
    # an evaluation more, in the middle of an update where the epoch ends there
    resumed = start("--resume", **threes | {"train_cfg.val_interval": 1})
    assert resumed.end() == 0, resumed.text
    found = checkpoint.load(checkpoint.latest(resumed.work_dir))
    assert resumed.losses(100) == losses
    assert found.model.keys() == expected.model.keys() and found.optimizer.keys() == expected.optimizer.keys()
    for name, array in expected.model.items():
        np.testing.assert_array_equal(found.model[name], array, err_msg=name)
    for name, array in expected.optimizer.items():
        np.testing.assert_array_equal(found.optimizer[name], array, err_msg=name)


@pytest.mark.parametrize("saves", ["never", "after every step", "on a signal"])
def test_a_loss_that_is_read_late_is_that_of_its_batch_and_in_no_checkpoint(
    finished: Run, start, monkeypatch, saves: str
) -> None:
    if saves == "on a signal":  # while the step with the bad loss has been computed, and nobody has read it
        monkeypatch.setenv("FAULT", "client.lease:4:SIGTERM")
    every = {"default_hooks.checkpoint.interval": 1, "default_hooks.checkpoint.by_epoch": False}
    run = start(epochs=2, program="tests.trainer.spoilt_loss", **(every if saves.startswith("after") else {}))
    assert run.end() == 2, run.text
    batch = re.search(r"error: loss_rpn_cls is nan at step (2) \(image ids (\[[^]]*\])\)", run.text.splitlines()[-1])
    assert batch, run.text
    assert run.steps() == [1, 2] and run.losses(2) == finished.losses(2)
    latest = checkpoint.latest(run.work_dir)
    assert (latest and latest.name) == ("step_2.safetensors" if saves.startswith("after") else None)


@pytest.mark.parametrize("saves", ["never", "after every step"])
def test_gradients_that_are_not_finite_end_a_run_before_its_next_step_and_are_in_no_checkpoint(
    finished: Run, start, monkeypatch, saves: str
) -> None:
    monkeypatch.setenv("SPOILS", "gradients")
    every = {"default_hooks.checkpoint.interval": 1, "default_hooks.checkpoint.by_epoch": False}
    run = start(epochs=2, program="tests.trainer.spoilt_loss", **(every if saves.startswith("after") else {}))
    assert run.end() == 2, run.text
    last = run.text.splitlines()[-1]
    assert re.search(
        r"error: the gradients' norm is nan at step 2 \(image ids \[[^]]*\]\), and the loss is finite", last
    )
    assert run.steps() == [1, 2] and run.losses(2) == finished.losses(2)
    latest = checkpoint.latest(run.work_dir)
    assert (latest and latest.name) == ("step_2.safetensors" if saves.startswith("after") else None)


@pytest.mark.parametrize("where", [pytest.param("forward", marks=pytest.mark.long), "update"])
def test_memory_that_is_used_up_is_one_line_and_a_checkpoint_of_the_last_finished_step(
    finished: Run, start, monkeypatch, where: str
) -> None:
    monkeypatch.setenv("WHERE", where)
    run = start(epochs=2, program="tests.trainer.used_up_memory")
    assert run.end() == 1, run.text
    last = run.text.splitlines()[-1]
    assert re.search(
        r"error: the device's memory is used up in step 2: 4 images of \d+x\d+, Jittor holds [\d.]+ GiB "
        r"\(Unable to alloc cuda device memory for size 4\); lower train_dataloader.batch_size .*; "
        r"checkpoint written at step 2, --resume continues from there$",
        last,
    ), last
    assert "Traceback" not in run.text and run.steps() == [1, 2]
    resumed = start("--resume", epochs=2)
    assert resumed.end() == 0, resumed.text
    assert resumed.losses(100) == finished.losses(100)
    expected = checkpoint.load(checkpoint.latest(finished.work_dir))
    found = checkpoint.load(checkpoint.latest(resumed.work_dir))
    for name, array in (expected.model | expected.optimizer).items():
        np.testing.assert_array_equal((found.model | found.optimizer)[name], array, err_msg=name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_ends_everybody_at_once_without_an_error(start, number) -> None:
    run = start("--workers", "1", server=None)
    run.until(lambda: "[trainer " in run.text, "first line")
    run.look()
    seconds = run.signal(number)
    assert run.process.returncode == (130 if number is signal.SIGINT else 0) and seconds < END_SECONDS
    run.assert_nothing_left()


def test_a_killed_embedded_server_is_reported_within_a_second_and_leaves_a_checkpoint(start) -> None:
    run = start(epochs=200, server=None)
    run.until_step(2)
    server = run.data_server()
    run.look()
    killed = time.monotonic()
    server.kill()
    assert run.end(30) == 1
    assert time.monotonic() - killed < 1 + GONE_SECONDS
    assert "data server" in run.text.splitlines()[-1] and "error" in run.text.splitlines()[-1]
    run.assert_nothing_left()
    assert checkpoint.latest(run.work_dir) is not None


def test_a_killed_trainer_takes_everybody_with_it(start) -> None:
    run = start(epochs=200, server=None)
    run.until_step(2)
    run.look()
    run.process.kill()
    run.process.wait()
    run.assert_nothing_left()


def test_a_trainer_waits_for_an_external_server_that_died_and_goes_on(start, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/feed"
    server = serve(address)
    try:
        run = start("--data-server", address, epochs=200, server=None)
        run.until_step(3)
        server.kill()
        server.wait()
        run.until(lambda: "waiting for it to come back" in run.text, "notice")
        reached = run.steps()[-1]
        server = serve(address)
        run.until_step(reached + 5)
        assert run.steps() == list(range(1, run.steps()[-1] + 1))
        assert run.signal(signal.SIGTERM) < END_SECONDS
        run.assert_nothing_left()
    finally:
        server.terminate()
        assert server.wait(120) == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cfg-options", "feed.slot=3"], "did you mean 'slots'"),
        (["--cfg-options", "data_root=/nowhere"], "/nowhere/train_a.json"),
        (["evaluate", "--checkpoint", "/nowhere/weights.safetensors"], "/nowhere/weights.safetensors"),
        (["--data-server", "tcp://localhost:1"], "ipc:///DIRECTORY"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(options: list[str], says: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainer", *options, "--config", "configs/demo/cln.py"]
    done = subprocess.run(
        [*command, "--work-dir", str(tmp_path / "w")], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "error: " in last and says in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "w").exists()


def test_weights_that_do_not_fit_are_listed_and_leave_no_work_dir(finished: Run, start) -> None:
    saved = checkpoint.latest(finished.work_dir)
    parts = ("neck.out", "rpn_head.in", "roi_head.bbox_roi_extractor.out", "roi_head.bbox_head.in")
    run = start("--checkpoint", str(saved), **{f"model.{part}_channels": 32 for part in parts})
    assert run.end() == 2
    last = run.text.splitlines()[-1]
    assert "does not fit the model" in last and "neck.fpn_convs.0.conv.weight" in last
    assert not (run.work_dir / "cln.py").exists()


def mapped(pid: int, name: str) -> bool:
    """Whether a file whose path contains `name` is mapped into a process."""
    return any(name in line for line in Path(f"/proc/{pid}/maps").read_text().splitlines())


def serve(address: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "data_server", "--workers", "1", "--listen", address],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
