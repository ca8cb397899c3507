"""``prepare``: kernels before they are needed, with nothing but the config."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.trainer.models.clip_examples import small_clip_model

ROOT = Path(__file__).parents[3]


def test_a_config_is_prepared_before_there_are_data_or_a_vocabulary(tmp_path: Path) -> None:
    missing = str(tmp_path / "later.npy")
    loader = {"batch_size": 2, "dataset": {"type": "CocoDataset", "pipeline": []}}
    content = {
        "model": small_clip_model(tmp_path, **{"roi_head.bbox_head.zeroshot_path": missing}),
        "train_dataloader": loader,
        "val_dataloader": loader,
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
    }
    (tmp_path / "config.py").write_text("".join(f"{key} = {value!r}\n" for key, value in content.items()))
    command = [sys.executable, "-m", "trainer", "prepare", "--config", str(tmp_path / "config.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count = re.search(r"(\d+) kernels are compiled", done.stderr)
    assert count is not None and int(count[1]) > 80, done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".npy"] == ["config.py"]
