"""The process that serves the page of a run: DESCRIPTOR WORK_DIR PARENT.

GET /                          the page, with /live.js and /live.css
GET /runs                      a recipe's steps, and the folders that have numbers
GET /numbers?run=&after=BYTE   the lines of a folder's metrics.jsonl from there on
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shared import web
from shared.lifetime import die_with_parent
from trainer.training.log import METRICS_FILE

STATE_FILE = "state.json"  # a recipe's
_PAGE = Path(__file__).parent / "page"
_MOST_BYTES = 4 << 20  # in an answer; the page asks again


class Run:
    """A work dir as far as it has been written."""

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir

    def runs(self, _: Request) -> Response:
        """A recipe's steps in their order, and the folders with numbers; the work dir itself is ``""``."""
        try:
            steps = json.loads((self._work_dir / STATE_FILE).read_bytes())["steps"]
        except (OSError, ValueError, KeyError):
            steps = {}
        listed = [
            {"name": name, "state": entry.get("state"), "seconds": entry.get("seconds")}
            for name, entry in steps.items()
        ]
        return JSONResponse({"work_dir": str(self._work_dir), "steps": listed, "runs": self._folders()})

    def numbers(self, request: Request) -> Response:
        """Whole lines only. ``after`` is where to go on; ``again``: the file is not what it was, begin anew."""
        name, text = request.query_params.get("run", ""), request.query_params.get("after", "0")
        if name not in self._folders():
            raise HTTPException(404, f"run {name!r}: there are no numbers")
        if not (text.isascii() and text.isdecimal() and len(text) < 16):
            raise HTTPException(400, "after: expected a number of bytes")
        with (self._work_dir / name / METRICS_FILE).open("rb") as file:
            again = int(text) > file.seek(0, 2)  # a run that went on at a checkpoint has cut its later lines
            after = 0 if again else int(text)
            file.seek(after)
            content = file.read(_MOST_BYTES)
        content = content[: content.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in content.splitlines()]
        return JSONResponse({"after": after + len(content), "again": again, "lines": lines})

    def _folders(self) -> list[str]:
        found = [path.parent for path in self._work_dir.glob(f"*/{METRICS_FILE}")]
        found.sort(key=lambda folder: (folder / METRICS_FILE).stat().st_ctime)
        names = [folder.name for folder in found]
        return [*names, ""] if (self._work_dir / METRICS_FILE).is_file() else names


def application(work_dir: Path) -> ASGIApp:
    """The page of a work dir."""
    run = Run(work_dir)
    routes = [
        *web.page_routes(_PAGE, "live", (_PAGE / "index.html").read_bytes()),
        Route("/runs", run.runs),
        Route("/numbers", run.numbers),
    ]
    served = Starlette(routes=routes, exception_handlers={HTTPException: web.told})
    return web.Door(served, None, True, ())


def main(words: list[str]) -> None:
    descriptor, work_dir, parent = words
    die_with_parent(int(parent))
    web.server(application(Path(work_dir))).run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main(sys.argv[1:])
