"""The root nursery as the server sees it: the process with torch and MMDetection from which each stream's nursery is
forked. One that has died is noticed at the next fork, and another takes its place."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

from data_server.machine.process_memory import anonymous_bytes
from data_server.serving.loop import Loop
from shared.channel import Channel, ChannelClosed
from shared.messages import Fork

NURSERY_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # A worker takes and frees the same few megabytes for every image; glibc would return them to the kernel each time.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


class RootNursery:
    """A root nursery that is being started, or runs.

    Args:
        log: called with a line when it has died.
    """

    def __init__(self, loop: Loop, log: Callable[[str], None]) -> None:
        self._loop = loop
        self._log = log
        self._process, self._channel = self._started()

    def fork(self) -> Channel:
        """Has a stream's nursery forked; returns its channel, which is at its end if that fails."""
        ours, theirs = Channel.pair()
        with theirs:
            try:
                self._channel.send(Fork(), theirs.fileno())
            except ChannelClosed:
                self._log("the root nursery died; starting another")
                self.kill()
                self._process, self._channel = self._started()
                with contextlib.suppress(ChannelClosed):  # dead again: `ours` is at its end as well
                    self._channel.send(Fork(), theirs.fileno())
        return ours

    @property
    def held_bytes(self) -> int:
        """The memory that it holds, and shares with each stream's nursery."""
        return anonymous_bytes(self._process.pid)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._loop.forget(self._channel.fileno())
        self._channel.close()

    def _started(self) -> tuple[subprocess.Popen[bytes], Channel]:
        process, channel = _started()
        channel.never_wait(partial(self._loop.when_writable, channel.fileno()))
        return process, channel


def _started() -> tuple[subprocess.Popen[bytes], Channel]:
    channel, theirs = Channel.pair()
    command = ["-W", "ignore", "-m", "data_server.workers.nursery", str(theirs.fileno()), str(os.getpid())]
    process = subprocess.Popen(
        [sys.executable, *command],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **NURSERY_ENVIRONMENT},
    )
    theirs.close()
    return process, channel
