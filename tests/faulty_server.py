"""A web server of a folder that fails now and then, as servers of data sets do."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar


class Faulty(SimpleHTTPRequestHandler):
    """Serves a folder; the names of what it serves say how.

    busy     503, twice, then the file
    short    twice half of the file and the end of the connection, then the file
    cut      a JPEG that the server itself has only half of, always
    locked   403
    gone     502, always
    """

    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        name = Path(self.path).name
        self.asked[self.path] += 1
        if "locked" in name or "gone" in name:
            return self.send_error(403 if "locked" in name else 502)
        first = self.asked[self.path] <= 2
        if "busy" in name and first:
            return self.send_error(503)
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        half = content[: len(content) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(half if "cut" in name else content)))
        self.end_headers()
        self.wfile.write(half if "cut" in name or ("short" in name and first) else content)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server of a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Faulty, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
