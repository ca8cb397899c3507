"""What is trained to see how long a GPU waits, and what is read of it."""

from pathlib import Path

import pytest

from shared.config import check, load_config
from tests.gpu_check.waiting import INTERVAL, config_text, waits
from trainer.training.intervals import Intervals
from trainer.training.log import Progress


def test_stage_1_is_trained_on_the_folder_with_no_checkpoint_and_no_evaluation(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(config_text(tmp_path, "some.json", 120))
    config = load_config(str(tmp_path / "config.py"))
    check(config)
    intervals = Intervals(config)
    assert intervals.loop.total_steps(steps_per_epoch=7) == 120 and intervals.log == INTERVAL
    assert not any(intervals.saves(step, 7) or intervals.evaluates(step, 7) for step in range(1, 121))
    data = config.train_dataloader.dataset
    assert (data.ann_file, config.data_root) == ("some.json", str(tmp_path))
    assert config.model.type == "FasterRCNN" and config.model.backbone.init_cfg is None


def test_the_first_lines_share_of_waiting_is_that_of_compiling_and_is_left_out(tmp_path: Path) -> None:
    progress = Progress(tmp_path, 3, 3, 1, 0)
    for step, waited in enumerate((9.0, 1.0, 3.0), 1):
        progress.train(step, {"loss": 1.0}, 0.1, 2, waited, 10.0, 0)
    progress.close()
    assert waits(tmp_path / "metrics.jsonl") == pytest.approx([0.1, 0.3])
