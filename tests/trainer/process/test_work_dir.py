"""One process at a time writes into a work dir."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import UserError
from trainer.process.work_dir import occupy

OTHER = """
import sys
from pathlib import Path
from trainer.process.work_dir import occupy
occupy(Path(sys.argv[1]))
print("there", flush=True)
sys.stdin.read()
"""


def test_a_second_trainer_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    work_dir = tmp_path / "new" / "run"
    command = [sys.executable, "-c", OTHER, str(work_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "there\n"
        with pytest.raises(UserError, match=rf"work dir {work_dir}: another trainer is writing there; choose another"):
            occupy(work_dir)
        other.kill()
    occupy(work_dir)


def test_a_work_dir_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"/file/run: Not a directory; choose a --work-dir you may write to"):
        occupy(tmp_path / "file" / "run")
