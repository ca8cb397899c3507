"""Lives of a trainer, one after the other, and what is known of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.reader import PREDICTIONS
from tests.cluster import ROOT, Cluster, left_in_shared_memory, wait_for
from tests.data_server.workers.test_evaluator import METRIC

MARK = "CHAOS_MARK"
CHECKPOINT_EVERY = 4


@dataclass(frozen=True)
class Undisturbed:
    """A stream that nobody disturbed: the rolling digest after each step, and its metrics."""

    digests: list[str]
    metrics: dict[str, float]
    steps_per_epoch: int


def undisturbed(cluster: Cluster, config: dict[str, Any], epochs: int, **hello: Any) -> Undisturbed:
    client = cluster.open(config, epochs=epochs, **hello)
    digests = []
    while (lease := client.next()) is not None:
        digests.append(client.digest)
        lease.release()
    metrics = client.evaluate([PREDICTIONS], [METRIC])
    client.close()
    return Undisturbed(digests, metrics, len(digests) // epochs)


class Trainer:
    """A trainer that is killed and started again: all its lives share one checkpoint.

    Attributes:
        lives: what each life said (`tests.chaos.reader`), by now.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        known: Undisturbed,
        *,
        pace: float = 0.0,
        patience: float = 0.0,
        evaluator: tuple[dict[str, Any], ...] = (METRIC,),
    ) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.known = known
        self.checkpoint = folder / "checkpoint.json"
        self._order = {
            "config": config,
            "steps_per_epoch": known.steps_per_epoch,
            "epochs": len(known.digests) // known.steps_per_epoch,
            "checkpoint": str(self.checkpoint),
            "checkpoint_every": CHECKPOINT_EVERY,
            "pace": pace,
            "patience": patience,
            "evaluator": list(evaluator),
        }
        self._words: list[list[dict[str, Any]]] = []
        self._read = 0  # bytes of what the current life has said

    def start(self, server: str, fault: str = "", **environment: str) -> subprocess.Popen:
        """Begins a life with the data server at `server`."""
        self._listen()
        self._words.append([])
        self._read = 0
        environment = {**os.environ, **environment, **({"FAULT": fault} if fault else {})}
        with self._file("said").open("w") as said, self._file("errors").open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.reader"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=errors,
            )
        with process.stdin as order:
            order.write(json.dumps({**self._order, "server": server}).encode())
        return process

    def live(self, server: str, fault: str = "", **environment: str) -> int:
        """A whole life; returns its exit code."""
        return self.start(server, fault, **environment).wait(120)

    @property
    def lives(self) -> list[list[dict[str, Any]]]:
        self._listen()
        return self._words

    @property
    def batches(self) -> int:
        """How many the current life has been given."""
        return sum("step" in word for word in self.lives[-1])

    @property
    def errors(self) -> str:
        return "".join(path.read_text() for path in sorted(self._folder.glob("errors_*")))

    def last_error(self) -> str:
        return self._file("errors").read_text()

    def assert_undisturbed(self) -> None:
        """Every batch of every life was the right one, and the last life came to the end and had the right metrics."""
        for words in self.lives:
            for word in words:
                if "step" in word:
                    assert word["digest"] == self.known.digests[word["step"]], word
        assert self.lives[-1][-1] == {"metrics": self.known.metrics}, self.errors
        assert "Traceback" not in self.errors, self.errors

    def _listen(self) -> None:
        """Reads what the current life has said since; a line that was cut short by its death is left out."""
        if not self._words:
            return
        with self._file("said").open("rb") as said:
            said.seek(self._read)
            fresh, newline, _ = said.read().rpartition(b"\n")
        self._read += len(fresh) + len(newline)
        self._words[-1] += [json.loads(line) for line in fresh.splitlines()]

    def _file(self, kind: str) -> Path:
        return self._folder / f"{kind}_{len(self._words):04}"


class Trace:
    """All processes that are started while it is set, and whatever they leave behind. Use as a context manager."""

    def __enter__(self) -> Trace:
        self._value = uuid.uuid4().hex
        self._shared_memory = set(os.listdir("/dev/shm"))
        os.environ[MARK] = self._value
        return self

    def __exit__(self, *_: object) -> None:
        del os.environ[MARK]
        for process in self.processes():
            os.kill(process, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Those that run now."""
        mark = f"{MARK}={self._value}".encode()
        return [
            int(path.name)
            for path in Path("/proc").glob("[0-9]*")
            if mark in _read(path / "environ").split(b"\0") and int(path.name) != os.getpid()
        ]

    def assert_nothing_left(self, seconds: float = 2.0) -> None:
        """Within `seconds` no process is left, and nothing in /dev/shm."""
        wait_for(lambda: not self.processes(), seconds)
        left = self.left_in_shared_memory()
        assert not left, f"left in /dev/shm: {left}"

    def left_in_shared_memory(self) -> set[str]:
        return left_in_shared_memory(self._shared_memory)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()  # of a zombie there is nothing
    except OSError:
        return b""


def descriptors(process: int) -> int:
    """How many a process has open."""
    return len(os.listdir(f"/proc/{process}/fd"))
