"""Every task may write into the work dir of a training that is going on: neither spoils a file of the other. A result
that cannot be written is found before the work."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from PIL import Image

from shared.config import load_config
from tests.trainer.demo_data import generate
from tests.trainer.runs import Run
from trainer.models import build_detector
from trainer.vocabulary import calibration
from trainer.weights import checkpoint
from trainer.weights.formats import file

KEPT = 20  # checkpoints; one of each step is written, and the one that a task has chosen is not to be gone meanwhile
TASKS = ("evaluate", "calibrate", "detect", "export")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("scenes") / "demo", train_images=18, val_images=4)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # six processes with Jittor in them, one after the other
def test_all_tasks_work_in_the_work_dir_of_a_running_training_and_every_file_is_whole(
    tmp_path: Path, data_root: Path
) -> None:
    work_dir = tmp_path / "work"
    proposals = {"val_dataloader.dataset.proposal_file": str(data_root / "proposals")}
    detecting = load_config("configs/demo/detect_never_seen.py", {"data_root": str(data_root), **proposals})
    checkpoint.save(
        tmp_path / "stage_2.safetensors", build_detector(detecting.model), None, {"epoch": 0, "step": 0}, {}
    )
    hook = {"by_epoch": False, "interval": 1, "max_keep_ckpts": KEPT}
    training = Run(
        work_dir,
        data_root,
        *("train", "--workers", "1"),
        epochs=10_000,
        **{f"default_hooks.checkpoint.{key}": value for key, value in hook.items()},
    )
    runs = [training]
    words = {
        "evaluate": ("--workers", "1"),
        "calibrate": ("--workers", "1", "--checkpoint", str(tmp_path / "stage_2.safetensors")),
        "detect": ("--images", str(data_root / "val_base")),
        "export": ("--out", str(work_dir / "exported.pth")),
    }
    try:
        training.until(lambda: checkpoint.latest(work_dir), "checkpoint")
        for task in TASKS:
            before = training.steps()[-1]
            calibrated = {"config": "detect_never_seen.py", **proposals} if task == "calibrate" else {}
            runs.append(Run(work_dir, data_root, task, *words[task], **calibrated))
            assert runs[-1].end() == 0, runs[-1].text
            training.until_step(before + 1)
        assert training.signal(signal.SIGTERM) >= 0 and training.process.returncode == 0, training.text
        training.assert_nothing_left()
    finally:
        for run in runs:
            run.kill()

    saved = sorted(work_dir.glob("*.safetensors"))
    for path in saved:
        checkpoint.load(path)  # it is whole
    assert checkpoint.latest(work_dir) in saved and len(saved) >= len(TASKS)
    assert training.steps() == list(range(1, training.steps()[-1] + 1))
    assert json.loads((work_dir / "results.json").read_text())["results"].keys() == {"val_base", "val_never_seen"}
    assert len(json.loads((work_dir / "detections.json").read_text())["images"]) == 4
    made = json.loads((work_dir / calibration.CALIBRATION_FILE).read_text())
    assert len(made["counts"]) == 24
    assert file.read(work_dir / "exported.pth").keys() == checkpoint.load(saved[0]).model.keys()
    with Image.open(work_dir / "contact_sheet.png") as sheet:
        sheet.load()
    assert not list(work_dir.glob("*.partial")) + list(work_dir.glob(".*partial"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "result"), [("evaluate", "results.json"), ("calibrate", "calibration.json"), ("detect", "detections.json")]
)
def test_a_result_that_cannot_be_written_ends_a_task_before_it_loads_the_weights(
    tmp_path: Path, data_root: Path, task: str, result: str
) -> None:
    (tmp_path / result).mkdir()
    words = ("--images", str(data_root / "val_base")) if task == "detect" else ("--workers", "1")
    run = Run(tmp_path, data_root, task, *words, "--checkpoint", "none.safetensors")
    assert run.end() == 2
    assert f"error: cannot write {tmp_path / result}: Is a directory; free some space, or" in run.text
