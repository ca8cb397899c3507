"""``docs/deploy/slurm.sh``, run with Slurm's variables and without Slurm: what it starts, what a signal does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster import PATIENCE, ROOT
from trainer.__main__ import parse

SCRIPT = ROOT / "docs" / "deploy" / "slurm.sh"
SECONDS = 20 * PATIENCE
CONFIG = "configs/demo/cln.py"
# In the place of mpirun: writes down how it was called, then waits for its signal, which it survives.
RANKS = """#!/bin/bash
trap 'echo USR1 >> heard; exit {code}' USR1
trap 'echo TERM >> heard; exit 143' TERM
printf '%s\\n' "$@" > called.part && mv called.part called
while [ -z "{ends}" ]; do sleep 0.05; done
exit {code}
"""


class Job:
    """The script as Slurm's batch shell starts it, in a directory that stands for the clone."""

    def __init__(self, place: Path, code: int = 0, ends: str = "") -> None:
        self.place = place
        programs = place / "bin"
        programs.mkdir()
        self._program("mpirun", RANKS.format(code=code, ends=ends))
        self._program("scontrol", '#!/bin/bash\necho "$@" > requeued\n')
        (place / ".venv" / "bin").mkdir(parents=True)
        (place / ".venv" / "bin" / "activate").write_text(f"PATH={programs}:$PATH\n")
        self.process = subprocess.Popen(
            ["bash", str(SCRIPT), CONFIG, "--cfg-options", "train_cfg.max_epochs=2"],
            cwd=place,
            env={**os.environ, "SLURM_NTASKS": "4", "SLURM_CPUS_PER_TASK": "8", "SLURM_JOB_ID": "17"},
        )

    def _program(self, name: str, text: str) -> None:
        path = self.place / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def called(self) -> list[str]:
        """How mpirun was."""
        deadline = time.monotonic() + SECONDS
        while not (self.place / "called").exists():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.05)
        return (self.place / "called").read_text().splitlines()

    def read(self, name: str) -> str | None:
        path = self.place / name
        return path.read_text().strip() if path.exists() else None


def test_a_rank_is_started_for_each_task_by_mpirun_with_what_the_user_has_named(tmp_path: Path) -> None:
    job = Job(tmp_path, ends="yes")
    words = job.called()
    assert job.process.wait(SECONDS) == 0
    start = words.index("python")
    assert words[:start] == ["-np", "4", "--bind-to", "none", "-x", "PATH"] and words[start:][:3] == [
        "python",
        "-m",
        "trainer",
    ]
    options = parse(words[start + 3 :])
    assert options.task == "train" and options.config == CONFIG and options.resume and options.workers == 7
    assert options.cfg_options == {"train_cfg.max_epochs": 2}
    assert job.read("requeued") is None, "it has ended by itself"


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, "requeue 17"), (signal.SIGTERM, None)])
def test_a_signal_becomes_a_checkpoint_and_the_one_before_the_end_of_the_time_sends_the_job_back(
    tmp_path: Path, number: signal.Signals, requeued: str | None
) -> None:
    job = Job(tmp_path)
    job.called()
    job.process.send_signal(number)
    assert job.process.wait(SECONDS) == 0
    assert job.read("heard") == "USR1"
    assert job.read("requeued") == requeued


def test_a_training_that_fails_gives_the_job_its_exit_code_and_is_not_tried_again(tmp_path: Path) -> None:
    job = Job(tmp_path, code=3)
    job.called()
    job.process.send_signal(signal.SIGUSR1)
    assert job.process.wait(SECONDS) == 3
    assert job.read("requeued") is None


def test_slurm_sends_the_signal_that_the_script_waits_for_and_to_the_script() -> None:
    text = SCRIPT.read_text()
    assert re.search(r"^#SBATCH --signal=B:USR1@\d+$", text, re.MULTILINE) and "' USR1\n" in text
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert text.index("set -euo") > text.index(directives[-1]), "Slurm reads no directive after the first command"
