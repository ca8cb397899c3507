"""A Ray cluster of one node on this machine, in a mount namespace of its own where some folders are others."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from shared.lifetime import die_with_parent
from tests.cluster import PATIENCE, wait_for

START_SECONDS = 10
_ATTEMPTS = 3  # Ray gives its own processes 30 seconds, which a busy machine may not have


def can_mount() -> bool:
    """Whether this user may have a mount namespace."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def free_port() -> int:
    with socket.create_server(("", 0)) as free:
        return int(free.getsockname()[1])


class Raylet:
    """``ray start --head`` with a token.

    Args:
        processors: as Ray counts them.
        instead: folders, and those that stand in their place for everything that runs on the node.
        environment: of the node, beside this process'.
        port: of the head.
        options: more of the command line.
    """

    def __init__(
        self,
        processors: int,
        instead: dict[Path, Path],
        environment: dict[str, str],
        port: int = 0,
        options: tuple[str, ...] = (),
    ) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="ray"))
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        words = [
            *(
                sys.executable,
                "-m",
                "ray.scripts.scripts",
                "start",
                "--head",
                "--block",
                f"--port={port or free_port()}",
            ),
            *("--disable-usage-stats", "--include-dashboard=false", "--object-store-memory=100000000"),
            *(f"--num-cpus={processors}", f"--temp-dir={self._directory}"),
            *options,
        ]
        mounts = "".join(f"mount --bind {new} {old} && " for old, new in instead.items())
        self._command = ["unshare", "--mount", "sh", "-c", f'{mounts}exec "$@"', "sh", *words] if instead else words
        self._environment = {**os.environ, **self.token, **environment, "RAY_USAGE_STATS_ENABLED": "0"}
        self._start_patiently()

    def _start_patiently(self) -> None:
        for attempt in range(_ATTEMPTS):
            self._start()
            if self._is_up(last=attempt == _ATTEMPTS - 1):
                return

    def _start(self) -> None:
        pytest_process = os.getpid()
        with (self._directory / "log").open("w") as log:
            self._head = subprocess.Popen(
                self._command,
                cwd="/",
                env=self._environment,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: die_with_parent(pytest_process, signal.SIGTERM),  # it ends its own
            )

    def _is_up(self, last: bool) -> bool:
        try:
            wait_for(lambda: self._says_so() or self._head.poll() is not None, START_SECONDS)
            assert self._head.poll() is None, self.log
            return True
        except AssertionError:
            self._end()
            if last:
                raise
            return False

    def _says_so(self) -> bool:
        """The address is written after the line."""
        return "Ray runtime started" in self.log and self._address.exists() and bool(self.address)

    @property
    def _address(self) -> Path:
        return self._directory / "ray_current_cluster"

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text()

    @property
    def address(self) -> str:
        return self._address.read_text().strip()

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on the node."""
        try:
            return psutil.Process(self._head.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def agents(self) -> list[psutil.Process]:
        return [process for process in self.processes() if "data_server.far.agent" in command_of(process)]

    def raylets(self) -> list[psutil.Process]:
        return [process for process in self.processes() if "raylet/raylet " in command_of(process)]

    def start_again(self) -> None:
        """At the same address, after its raylet was killed."""
        self._end()
        self._start_patiently()

    def stop(self) -> None:
        self._end()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _end(self) -> None:
        processes = self.processes()
        self._head.terminate()
        try:
            self._head.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._head.kill()
            self._head.wait()
        _, left = psutil.wait_procs(processes, timeout=5)
        for process in left:
            process.kill()


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) + " "
    except psutil.Error:
        return ""
