"""The tests' end of `tests.faults.nest`."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import psutil

from tests.cluster import ROOT


class Nest:
    """A process that has imported one of the programs and is forked for every command.

    Args:
        folder: for what commands write to standard output and standard error.
    """

    def __init__(self, program: str, environment: dict[str, str], folder: Path) -> None:
        self._out, self._err = folder / "stdout", folder / "stderr"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.nest", program],
            cwd=ROOT,
            # In a fork Jittor's pool of compiler processes is not there.
            env={**os.environ, **environment, "DISABLE_MULTIPROCESSING": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def start(self, arguments: list[str]) -> psutil.Process:
        """A process that waits for `go`."""
        for file in (self._out, self._err):
            file.unlink(missing_ok=True)
        self._say(json.dumps({"arguments": arguments, "stdout": str(self._out), "stderr": str(self._err)}))
        return psutil.Process(int(self._answer()))

    def go(self) -> None:
        self._say("go")

    def processes(self) -> list[psutil.Process]:
        """This one, the command's and all that it has started."""
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    def has_ended(self, seconds: float) -> bool:
        """Whether the process ends within `seconds`."""
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def end(self) -> tuple[int, str]:
        """Waits for the end; returns exit code and what went to standard error."""
        code = int(self._answer())
        return code, self._err.read_text(errors="replace") if self._err.exists() else ""

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _say(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        assert line, "the nest has died"
        return line.strip()
