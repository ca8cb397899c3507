"""Where the trainer's batches come from: a data server of its own, or one that is running already.

    --data-server embedded      start one as a child; it dies with the trainer
    --data-server ipc:///dir    join the one that serves there; wait for it when it is away
    (nothing)                   join this user's default one when it runs, else embedded

Started before Jittor is imported, so that both sides' slow imports overlap and no fork ever copies Jittor's threads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from shared.client import ServerGone, StreamClient
from shared.errors import UserError
from shared.link import Address, default_address
from shared.messages import Hello, Quarantined

START_SECONDS = 30.0
STOP_SECONDS = 1.5
_RETRY_SECONDS = 0.05


class DataServerLost(Exception):
    """The data server is gone and will not come back; the text says so in one line."""


class DataServer:
    """A data server, embedded or external. Use as a context manager."""

    def __init__(self, option: str | None, workers: int | None, say: Callable[[str], None]) -> None:
        """Starts or finds the server.

        Raises:
            UserError: the address is none.
        """
        self._say = say
        self._process: subprocess.Popen | None = None
        self._directory: str | None = None
        if option is None:
            option = default_address() if Address(default_address()).is_served() else "embedded"
        if option == "embedded":
            self._start(workers or min(4, len(os.sched_getaffinity(0))))
        else:
            self.address = Address(option)
            say(f"joining the data server at {option}" + (" (its own --workers counts)" if workers else ""))

    @property
    def embedded(self) -> bool:
        """Whether this trainer has started the server, and ends it."""
        return self._process is not None

    def open(self, hello: Hello, patience: float, on_quarantined: Callable[[Quarantined], None]) -> StreamClient:
        """Opens a stream; waits up to `patience` seconds for a server that is not (yet, or no longer) there.

        Raises:
            DataServerLost: nobody serves the address in time, or the embedded server is dead.
            UserError: the server refuses the stream.
        """
        deadline = time.monotonic() + (START_SECONDS if self.embedded else patience)
        told = self.embedded
        while True:
            if self._process is not None and self._process.poll() is not None:
                raise DataServerLost(f"the embedded data server ended with code {self._process.returncode}")
            if self.address.is_served():
                # It may not listen yet, or die before it answers; both look like an address that is not served.
                with contextlib.suppress(ServerGone):
                    return StreamClient(self.address, hello, self._say, on_quarantined)
            elif not told:
                self._say(f"waiting up to {patience:.0f} s for a data server at {self.address.text}")
                told = True
            if time.monotonic() > deadline:
                raise DataServerLost(f"no data server answers at {self.address.text}")
            time.sleep(_RETRY_SECONDS)

    def __enter__(self) -> DataServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self, workers: int) -> None:
        base = os.environ.get("XDG_RUNTIME_DIR")
        try:
            self._directory = tempfile.mkdtemp(
                prefix="unidetector-", dir=base if base and os.access(base, os.W_OK) else None
            )
        except OSError as error:
            raise UserError(f"cannot make a directory for the data server's sockets: {error}; set TMPDIR") from None
        self.address = Address(f"ipc://{self._directory}")
        settings = {"--workers": workers, "--listen": self.address.text, "--embedded-in": os.getpid()}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "data_server", *(str(word) for setting in settings.items() for word in setting)],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,  # Ctrl-C in the terminal is the trainer's to handle
        )
