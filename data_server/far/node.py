"""What Ray runs on a node: an actor whose agent lives and dies with it. Imports nothing of Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import data_server


class Node:
    """Starts the agent.

    Args:
        address: of this node's network interface, the one that Ray uses; nothing listens at any other.
        accepted: the public key of the server, Z85.
    """

    def __init__(self, address: str, accepted: str) -> None:
        """Raises RuntimeError when the agent does not start."""
        host = f"[{address}]" if ":" in address else address
        path = [str(Path(data_server.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._agent = subprocess.Popen(
            [sys.executable, "-m", "data_server.far.agent", f"tcp://{host}:*", accepted, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )
        assert self._agent.stdout is not None
        self._said = self._agent.stdout.readline().split()
        if len(self._said) != 2:
            raise RuntimeError(f"its agent ended with code {self._agent.wait()}; Ray's log of the actor says more")

    def where(self) -> tuple[str, str]:
        """The agent's address and its public key."""
        address, key = self._said
        return address, key

    def watch(self) -> int:
        """Returns when the agent has ended: its exit code."""
        return self._agent.wait()
