"""The metrics of an evaluation as a file and as a table."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import UserError
from tests.cluster import ROOT
from trainer.evaluation import results

FOUND = {"val_base": {"mAP": 0.25, "mAP_s": math.nan}, "val_base, calibrated": {"mAP": 0.5}}


def test_results_are_read_as_they_were_written_and_what_was_not_measured_is_none(tmp_path: Path) -> None:
    results.write(tmp_path, Path("epoch_4.safetensors"), FOUND)
    assert results.read(tmp_path) == {"val_base": {"mAP": 0.25, "mAP_s": None}, "val_base, calibrated": {"mAP": 0.5}}
    assert '"checkpoint": "epoch_4.safetensors"' in (tmp_path / results.RESULTS_FILE).read_text()


def test_results_that_cannot_be_written_are_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=rf"cannot write {tmp_path}/file/results\.json: .* or choose another --work-dir"
    ):
        results.write(tmp_path / "file", Path("F"), FOUND)


def test_the_table_has_a_row_for_each_split_and_a_column_for_each_metric_of_any() -> None:
    header, _, base, calibrated = results.as_table(FOUND).splitlines()
    assert header.split() == ["split", "mAP", "mAP_s"]
    assert base.split() == ["val_base", "0.250", "nan"]
    assert calibrated.split() == ["val_base,", "calibrated", "0.500", "nan"]


def test_reading_and_writing_results_needs_no_jittor() -> None:
    script = "import sys; from trainer.evaluation import predictions, results; print('jittor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
