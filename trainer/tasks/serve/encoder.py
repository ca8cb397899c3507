"""Text embeddings of words that nobody has embedded before, by CLIP, in a process of the data server's.

    Encoder, no torch ── socket pair: EMBED ─► ◄─ EMBEDDED, FAILURE ──► python -m data_server embed --clip W, torch
       └─► ~/.cache/unidetector/words/DIGEST.npy with DIGEST.names.json: every row that these weights have made

The rows are those of ``python -m data_server embed``. The process starts with the first name that is not in the file,
and ends with this one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from shared.channel import Channel, ChannelClosed
from shared.contents import cache_folder, digest
from shared.embeddings import compared, write_embeddings
from shared.errors import UserError
from shared.messages import Embed, Embedded, Failure
from trainer.vocabulary.embeddings import NamedEmbeddings, load

_AT_ONCE = 64  # names in a message
_STOP_SECONDS = 1.5


class Encoder:
    """CLIP's text tower.

    Args:
        weights: as ``embed --clip`` takes them.
        length: numbers of a row that the detector's weights are for.
        say: told that a row cannot be kept.

    Raises:
        UserError: there is no such file.
    """

    def __init__(self, weights: Path, length: int, say: Callable[[str], None]) -> None:
        self._weights, self._length, self._say = weights, length, say
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            with open(weights, "rb") as file:
                name = digest(file.fileno())
        except OSError as error:
            raise UserError(f"--clip {weights}: {error.strerror}; expected CLIP's weights, such as RN50.pt") from None
        self._file = _file(name)
        self._known = self._kept()

    def rows(self, names: Sequence[str]) -> list[np.ndarray]:
        """A row f32 (D,) of each name; seconds where CLIP has to start.

        Raises:
            UserError: the weights are no CLIP or one of another length, open_clip is not installed, its process died.
        """
        with self._lock:
            missing = [name for name in names if compared(name) not in self._known]
            for first in range(0, len(missing), _AT_ONCE):
                part = missing[first : first + _AT_ONCE]
                for name, row in zip(part, self._asked(part), strict=True):
                    self._known[compared(name)] = (name, row)
            if missing:
                self._keep()
            return [self._known[compared(name)][1] for name in names]

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._end()

    def _asked(self, names: list[str]) -> np.ndarray:
        """Rows f32 (N,D) from the process, which is started where it does not run."""
        if self._process is None:
            self._start()
        try:
            self._channel.send(Embed(names))
            answer = self._channel.receive(Embedded, Failure)
        except ChannelClosed:
            self._end()
            raise UserError("names: the process that embeds them died; ask again") from None
        if isinstance(answer, Failure):
            self._end()
            raise UserError(answer.text)
        rows = np.frombuffer(answer.rows, np.float32).reshape(len(names), -1)
        if rows.shape[1] != self._length:
            self._end()
            raise UserError(
                f"--clip {self._weights}: its rows have {rows.shape[1]} numbers, the detector's {self._length}; give "
                "the CLIP that the vocabulary was embedded with"
            )
        return rows

    def _start(self) -> None:
        self._channel, theirs = Channel.pair()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "data_server",
                "embed",
                "--clip",
                str(self._weights),
                "--answers",
                str(theirs.fileno()),
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,  # Ctrl-C in the terminal is this process' to handle
        )
        theirs.close()

    def _end(self) -> None:
        if self._process is None:
            return
        self._channel.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _kept(self) -> dict[str, tuple[str, np.ndarray]]:
        """What earlier starts have made; nothing where the file cannot be read: it is made again."""
        if self._file is None or not self._file.exists():
            return {}
        try:
            table: NamedEmbeddings = load(self._file)
        except UserError as error:
            self._say(f"warning: {error}; its names are embedded again")
            return {}
        return {compared(name): (name, row) for name, row in zip(table.names, table.embeddings, strict=True)}

    def _keep(self) -> None:
        if self._file is None:
            return
        names, rows = zip(*self._known.values(), strict=True)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_embeddings(self._file, np.stack(rows), list(names))
        except OSError as error:
            self._say(f"warning: {self._file}: {error.strerror}; the next start will embed its names again")


def _file(name: str) -> Path | None:
    """Where the rows of weights are kept; None where there is no home directory."""
    with contextlib.suppress(RuntimeError):
        return cache_folder() / "words" / f"{name}.npy"
    return None
