"""A recipe in real processes, to be watched, looked at and killed by tests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.trainer.runs import DEADLINE, GONE_SECONDS, ROOT
from trainer.recipe.state import RUNNING

CONFIGS = ROOT / "configs" / "demo"


class Start:
    """``python -m trainer --recipe`` in a process of its own.

    Args:
        text: the recipe.
        arguments: further options.
    """

    def __init__(self, folder: Path, data_root: Path, text: str, *arguments: str) -> None:
        recipe = folder / "small.py"
        recipe.write_text(text)
        self.work_dir = folder / "work"
        self.log = folder / f"log_{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", "trainer", "--recipe", str(recipe), "--work-dir", str(self.work_dir)]
        command += ["--workers", "1", *arguments, "--cfg-options", f"options.data_root={data_root}"]
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)

    @property
    def text(self) -> str:
        return self.log.read_text()

    def state(self) -> dict[str, dict]:
        path = self.work_dir / "state.json"
        return json.loads(path.read_text())["steps"] if path.exists() else {}

    def trained(self, step: str) -> int:
        """How many steps of training a train step has logged."""
        path = self.work_dir / step / "metrics.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    def is_running(self, step: str) -> bool:
        return self.state().get(step, {}).get("state") == RUNNING

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {what}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {what} in {DEADLINE:.0f} s:\n{self.text}"
            time.sleep(0.02)

    def step_process(self) -> psutil.Process:
        """The process of the step that is running."""
        children: list[psutil.Process] = []
        self.until(lambda: children.extend(psutil.Process(self.process.pid).children()) or children, "step's process")
        return children[0]

    def end(self) -> int:
        return self.process.wait(DEADLINE)

    def kill(self) -> None:
        """Kills the recipe's own process; everything it has started follows."""
        processes = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        _, alive = psutil.wait_procs(processes, timeout=GONE_SECONDS)
        assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
