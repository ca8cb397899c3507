"""``python -m trainer serve`` in a process of its own, and requests to it as any program makes them."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from tests.cluster import PATIENCE
from tests.trainer.runs import DEADLINE, ROOT

SECONDS = 30 * PATIENCE


class Answer(NamedTuple):
    """An answer: `content` is its JSON, or None where it has none."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> dict:
        return json.loads(self.body)


def multipart(fields: list[tuple[str, str | tuple[str, bytes]]]) -> tuple[bytes, str]:
    """A form's body and its content-type; a file is its name and its content."""
    edge = uuid.uuid4().hex
    parts = []
    for key, value in fields:
        name, content = ("", value.encode()) if isinstance(value, str) else (f'; filename="{value[0]}"', value[1])
        parts.append(f'--{edge}\r\nContent-Disposition: form-data; name="{key}"{name}\r\n\r\n'.encode() + content)
    return b"\r\n".join([*parts, f"--{edge}--\r\n".encode()]), f"multipart/form-data; boundary={edge}"


def words_of(detector: tuple[Path, Path]) -> list[str]:
    """The options that name a detector: its config and its checkpoint."""
    return ["--config", str(detector[0]), "--checkpoint", str(detector[1])]


class Served:
    """A server at a free port, once it is there.

    Args:
        folder: its work dir.
        options: the command's, with --config and --checkpoint.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = folder / "serve.log"
        command = [sys.executable, "-m", "trainer", "serve", *options, "--work-dir", str(folder), "--port", "0"]
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + DEADLINE
        while not (found := re.search(r"serving (http://[^/]*:(\d+)/)", self.text)):
            assert self.process.poll() is None and time.monotonic() < deadline, self.text
            time.sleep(0.05)
        self.url, self.port = found[1], int(found[2])

    @property
    def text(self) -> str:
        return self.log.read_text()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def detect(
        self, picture: Path | bytes, names: tuple[str, ...] = (), name: str | None = None, **more: str
    ) -> Answer:
        """POST /detect with a form; of `more`, what is in capitals is a header."""
        content = picture if isinstance(picture, bytes) else picture.read_bytes()
        title = name or (str(picture) if isinstance(picture, Path) else "image")
        fields = [("image", (title, content)), *(("names", one) for one in names)]
        fields += [(key, value) for key, value in more.items() if not key.isupper()]
        body, kind = multipart(fields)
        headers = {key: value for key, value in more.items() if key.isupper()}
        return self.ask("POST", "/detect", body, Content_Type=kind, **headers)

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit code after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)
