"""A copy of the project, in which sources may be changed and tests run without harm to anything outside.

    folder/shared ──► beside the project, where tests look for recorded answers
    folder/tree       the files that git knows or would add

Tests run in a PID namespace: a mutant sees no process but its own, and all of them end with it. Time is counted on the
processors, not on the wall, so that a busy machine does not kill mutants.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from shared.lifetime import die_with_parent

INSIDE = Path(__file__).with_name("inside")
POLL_SECONDS = 0.2
IDLE_SECONDS = 120  # whoever had nothing to do for so long, but for a share of the looks, waits for what will not come
IDLE_SHARE = 0.05
BUSY = (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)  # also when it waits for a processor that others use
Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Answer:
    """What became of a run of tests.

    Attributes:
        code: pytest's exit code; None when it was stopped at a limit.
        events: what the probes and the plugin told, one JSON list each.
        output: what pytest and its children printed.
    """

    code: int | None
    events: list[list[Any]]
    output: str

    @property
    def failed(self) -> list[str]:
        return [event[0] for event in self.events if event[-1] == "failed"]


class Project:
    """The copy in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tree = folder, folder / "tree"

    @classmethod
    def snapshot(cls, root: Path, folder: Path) -> Project:
        """Of the git work tree `root`, without what git ignores."""
        shutil.rmtree(folder, ignore_errors=True)
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
        project = cls(folder)
        for name in filter(None, listed.split("\0")):
            if (root / name).exists():
                (project.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, project.tree / name)
        (folder / "shared").symlink_to(root.parent / "shared")
        return project

    def copy(self, folder: Path) -> Project:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def run(self, files: list[str], tests: list[str] | None, processor_seconds: float, stop: bool = True) -> Answer:
        """Runs `tests` (all when None) of `files`, up to the first failure if `stop`."""
        with tempfile.TemporaryDirectory(prefix="m") as temporary, tempfile.TemporaryFile() as output:
            events = Path(temporary) / "events"
            environment = os.environ | {
                "MUTATION_EVENTS": str(events),
                "PYTHONPATH": f"{self.tree}{os.pathsep}{INSIDE}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "TMPDIR": temporary,
            }
            if tests is not None:
                order = Path(temporary) / "tests.json"
                order.write_text(json.dumps(tests))
                environment["MUTATION_TESTS"] = str(order)
            parent = os.getpid()
            process = subprocess.Popen(
                [
                    *isolation(),
                    *(sys.executable, "-m", "pytest", "-q", "-p", "mutation_plugin", "-p", "no:cacheprovider"),
                    *(["-x"] if stop else []),
                    *files,
                ],
                cwd=self.tree,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: die_with_parent(parent, signal.SIGKILL),
            )
            code = _wait(process, processor_seconds)
            output.seek(0)
            lines = events.read_text().splitlines() if events.exists() else []
            return Answer(code, [json.loads(line) for line in lines], output.read().decode(errors="replace"))


@functools.cache
def isolation() -> tuple[str, ...]:
    """The words before a command that give it a PID namespace, with a shell as its init."""
    namespace = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    for words in (namespace, (*namespace, "--user", "--map-current-user")):
        command = (*words, "sh", "-c", '"$@"; exit $?', "sh")
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    raise OSError("mutants run in a PID namespace, and unshare (util-linux) could not make one here")


def _wait(process: subprocess.Popen[bytes], processor_seconds: float) -> int | None:
    """The exit code; None when the limit was reached or nothing was done for long."""
    looked = busy = 0
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        family = _family(process.pid)
        looked += 1
        busy += any(_ask(one.status) in BUSY for one in family)
        is_idle = False
        if looked * POLL_SECONDS > IDLE_SECONDS:
            is_idle = busy < IDLE_SHARE * looked
            looked = busy = 0
        # of each process, and of its children that have ended
        used = sum(sum((_ask(one.cpu_times) or (0.0,))[:4]) for one in family)
        if is_idle or used > processor_seconds:
            process.kill()
            process.wait()
            return None
    return process.returncode


def _family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _ask(question: Callable[[], Answered]) -> Answered | None:
    """None when the process has ended meanwhile."""
    try:
        return question()
    except psutil.NoSuchProcess:
        return None
