"""Where the trainer's batches come from: a data server of its own, or one that is running already.

    --data-server embedded      SpawnedServer: started as a child; it dies with the trainer
    --data-server ipc:///dir    JoinedServer: the one that serves there; it is waited for when it is away
    (nothing)                   join this user's default one when it runs, else embedded

Of several ranks on a host, the first does this, and the others join what it has: one server feeds a host.

Started before Jittor is imported, so that both sides' slow imports overlap and no fork ever copies Jittor's threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import TracebackType

from shared.address import Address, default_address, private_directory
from shared.client import ServerGone, StreamClient
from shared.errors import UserError
from shared.messages import Hello, Quarantined
from trainer.process.ranks import ALONE, Ranks

START_SECONDS = 30.0
STOP_SECONDS = 1.5
_RETRY_SECONDS = 0.05

Say = Callable[[str], None]


class DataServerLost(Exception):
    """The data server is gone and will not come back; the text says so in one line."""


class ServerHandle(ABC):
    """The trainer's hold on a data server; `connect` makes one. Use as a context manager.

    Attributes:
        address: where it serves.
        embedded: whether this trainer has started it, and will end it.
    """

    address: Address
    embedded: bool

    def __init__(self, say: Say) -> None:
        self._say = say

    def open(self, hello: Hello, patience: float, on_quarantined: Callable[[Quarantined], None]) -> StreamClient:
        """Opens a stream; waits for a server that is not (yet, or no longer) there.

        Args:
            patience: seconds to wait for a server that is not embedded.

        Raises:
            DataServerLost: nobody serves the address in time, or the embedded server is dead.
            UserError: the server refuses the stream.
        """
        deadline = time.monotonic() + (START_SECONDS if self.embedded else patience)
        told = self.embedded
        while True:
            self._check_alive()
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

    def __enter__(self) -> ServerHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    @abstractmethod
    def _check_alive(self) -> None:
        """Raises DataServerLost when it is known to be dead."""

    @abstractmethod
    def _leave(self) -> None:
        """The trainer no longer needs it."""


class JoinedServer(ServerHandle):
    """One that somebody else has started, or will start; `embedded`: in another rank on this host."""

    def __init__(self, address: Address, say: Say, embedded: bool = False) -> None:
        super().__init__(say)
        self.address, self.embedded = address, embedded

    def _check_alive(self) -> None:
        """It is not ours: whether it is there shows when it is contacted."""

    def _leave(self) -> None:
        """It keeps serving others."""


class SpawnedServer(ServerHandle):
    """A child of this process, in a folder of its own."""

    embedded = True

    def __init__(self, workers: int, say: Say, cores: set[int], ray: str | None = None) -> None:
        """Starts it, on `cores`, with far workers of the Ray cluster at `ray`; does not wait until it listens.

        Raises:
            UserError: there is nowhere to put its sockets, or the system starts no more processes.
        """
        super().__init__(say)
        self._directory = private_directory()
        self.address = Address(f"ipc://{self._directory}")
        settings = {"--workers": workers, "--listen": self.address.text, "--embedded-in": os.getpid()}
        settings |= {"--ray": ray} if ray is not None else {}
        command = [sys.executable, "-m", "data_server", *(str(word) for pair in settings.items() for word in pair)]
        try:
            with _on(cores):
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
                    start_new_session=True,  # Ctrl-C in the terminal is the trainer's to handle
                )
        except OSError as error:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise UserError(f"the data server cannot be started: {error.strerror}") from None

    def _check_alive(self) -> None:
        if self._process.poll() is not None:
            raise DataServerLost(f"the embedded data server ended with code {self._process.returncode}")

    def _leave(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextlib.contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """What this thread starts inside may use these cores."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def _running_default(say: Say) -> str | None:
    """This user's default address if it is served."""
    address = Address(default_address())
    try:
        return address.text if address.is_served() else None
    except UserError as error:
        say(f"warning: {error}; starting a data server of its own")
        return None


def connect(
    option: str | None, workers: int | None, say: Say, ranks: Ranks = ALONE, ray: str | None = None
) -> ServerHandle:
    """Starts or finds the data server that ``--data-server`` means, which is one for all ranks on a host.

    Args:
        option: see the module's text.
        workers: worker processes of each stream of an embedded one (default: as many as this rank's share of the
            host's cores, at most 4).
        ray: the cluster that gives an embedded one far workers.

    Raises:
        UserError: the address is invalid, or the server cannot be started.
    """
    if ranks.local_rank == 0:
        server = _connect(option, workers, say, ranks, ray)
        ranks.share_on_host(json.dumps([server.address.text, server.embedded]).encode())
        return server
    address, embedded = json.loads(ranks.share_on_host(b""))
    return JoinedServer(Address(address), say, embedded)


def _connect(option: str | None, workers: int | None, say: Say, ranks: Ranks, ray: str | None) -> ServerHandle:
    if option is None:
        option = _running_default(say) or "embedded"
    if option == "embedded":
        cores = ranks.cores()
        return SpawnedServer(workers or max(1, min(4, len(cores) // ranks.local_size)), say, cores, ray)
    server = JoinedServer(Address(option), say)
    ignored = " and ".join(name for name, value in (("--workers", workers), ("--ray", ray)) if value)
    verb = "are" if " and " in ignored else "is"
    say(
        f"joining the data server at {option}"
        + (f" ({ignored} {verb} ignored: the server has its own)" if ignored else "")
    )
    return server
