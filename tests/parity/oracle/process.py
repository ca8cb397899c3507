"""The pipe to the oracle: arrays and plain values as msgpack, each message behind its length in 8 bytes."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import msgpack
import numpy as np

ROOT = Path(__file__).resolve().parents[3]


def _pack(value: object) -> dict:
    if isinstance(value, np.generic):
        return value.item()
    return {"dtype": value.dtype.str, "shape": value.shape, "bytes": np.ascontiguousarray(value).tobytes()}


def _unpack(value: dict) -> object:
    if set(value) == {"dtype", "shape", "bytes"}:
        return np.frombuffer(value["bytes"], value["dtype"]).reshape(value["shape"]).copy()
    return value


def send(pipe: BinaryIO, message: object) -> None:
    data = msgpack.packb(message, default=_pack)
    pipe.write(struct.pack("<Q", len(data)) + data)
    pipe.flush()


def receive(pipe: BinaryIO) -> object:
    """The next message.

    Raises:
        EOFError: the other side is gone.
    """
    header = pipe.read(8)
    if len(header) < 8:
        raise EOFError
    return msgpack.unpackb(pipe.read(struct.unpack("<Q", header)[0]), object_hook=_unpack, strict_map_key=False)


class Oracle:
    """A running oracle.

    Attributes:
        has_compiled_operators: whether mmcv's operators are there.
    """

    def __init__(self, extra_path: Path | None) -> None:
        """Start it; `extra_path` goes in front of its module search path."""
        path = os.pathsep.join(str(part) for part in (extra_path, ROOT) if part)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.parity.oracle"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        self.has_compiled_operators = self.ask("has_compiled_operators")

    def ask(self, name: str, **arguments: object) -> object:
        """What the function `name` of tests.parity.oracle.answers returns.

        Raises:
            RuntimeError: with the oracle's traceback, when it failed.
        """
        send(self.process.stdin, [name, arguments])
        try:
            answer = receive(self.process.stdout)
        except EOFError:
            raise RuntimeError(f"the oracle ended with code {self.process.wait()}; its errors are above") from None
        if "failure" in answer:
            raise RuntimeError(answer["failure"])
        return answer["answer"]

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(120)
        self.process.stdout.close()
