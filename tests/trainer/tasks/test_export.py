"""``export``: MMDetection's weights come in, go out again, and MMDetection reads them, bit for bit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from tests.trainer.models.examples import small_model
from trainer.models import build_detector
from trainer.weights import checkpoint
from trainer.weights.formats import file

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "configs" / "_base_" / "models" / "cln_r50_fpn.py"


def mmdet(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.trainer.weights.mmdet_stage_1", *map(str, arguments)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def export(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "trainer", "export", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_mmdetections_stage_1_weights_load_whole_and_return_to_it_unchanged(tmp_path: Path) -> None:
    """Its file of this configuration: nothing missing, nothing unexpected, 41,346,893 parameters."""
    mmdet("save", tmp_path / "mmdet.pth")
    done = export("--config", CONFIG, "--checkpoint", tmp_path / "mmdet.pth", "--out", tmp_path / "out" / "ours.pth")
    assert done.returncode == 0, done.stderr
    loaded = next(line for line in done.stderr.splitlines() if "fit" in line)
    assert loaded.endswith("mmdet.pth: 299 tensors fit")
    weights = file.read(tmp_path / "out" / "ours.pth")
    assert sum(array.size for name, array in weights.items() if "running" not in name) == 41_346_893
    compared = mmdet("compare", tmp_path / "mmdet.pth", tmp_path / "out" / "ours.pth")
    assert compared.splitlines()[-1] == "352 tensors, 0 differ: []"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ours.pth"]


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    Config({"model": small_model()}).dump(str(tmp_path / "small.py"))
    return tmp_path / "small.py"


def test_the_work_dirs_latest_checkpoint_is_exported_by_default(tmp_path: Path, small_config: Path) -> None:
    model = build_detector(small_model())
    checkpoint.save(tmp_path / "work" / "epoch_1.safetensors", model, None, {"epoch": 1, "step": 0}, {})
    done = export("--config", small_config, "--work-dir", tmp_path / "work", "--out", tmp_path / "a.pth")
    assert done.returncode == 0, done.stderr
    weights, saved = file.read(tmp_path / "a.pth"), model.state_dict(to="numpy")
    assert weights.keys() == saved.keys()
    for name, array in saved.items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)


def test_what_cannot_be_exported_is_one_line(tmp_path: Path, small_config: Path) -> None:
    done = export("--config", small_config, "--work-dir", tmp_path / "none", "--out", tmp_path / "a.pth")
    assert done.returncode == 2 and "nothing to export: no checkpoint in" in done.stderr
    done = export("--config", small_config)
    assert done.returncode == 2 and "the following arguments are required: --out" in done.stderr
    assert not (tmp_path / "a.pth").exists()
