"""The process that serves the page of a run: DESCRIPTOR WORK_DIR PARENT.

GET /                          the page, with /live.js and /live.css
GET /runs                      a recipe's steps, and the folders that have numbers or a log
GET /numbers?run=&after=BYTE   the lines of a folder's metrics.jsonl from there on
GET /log?run=&seen=BYTES       the end of its log.txt, which has grown since it had so many
POST /batch?run=&seen=STEP     asks the training for its batch; the last that it has drawn, which is not that step's
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shared import web
from shared.lifetime import die_with_parent
from shared.terminal import printable
from trainer.training.log import LOG_FILE, METRICS_FILE
from trainer.training.onlooker import BATCH_FILE, WANTED_FILE

STATE_FILE = "state.json"  # a recipe's
_PAGE = Path(__file__).parent / "page"
_FILES = (METRICS_FILE, LOG_FILE)
_MOST_BYTES = 4 << 20  # in an answer; the page asks again
_LOG_BYTES = 64 << 10


class Run:
    """A work dir as far as it has been written."""

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir

    def runs(self, _: Request) -> Response:
        """A recipe's steps in their order, and the folders with numbers or a log; the work dir itself is ``""``."""
        listed = [
            {"name": name, "state": entry.get("state"), "seconds": entry.get("seconds")}
            for name, entry in self._steps().items()
        ]
        return JSONResponse({"work_dir": str(self._work_dir), "steps": listed, "runs": self._folders()})

    def numbers(self, request: Request) -> Response:
        """Whole lines only. ``after`` is where to go on; ``again``: the file is not what it was, begin anew."""
        path, asked = self._folder(request) / METRICS_FILE, _number(request, "after")
        if not path.is_file():
            return JSONResponse({"after": 0, "again": False, "lines": []})
        with path.open("rb") as file:
            again = asked > file.seek(0, 2)  # a run that went on at a checkpoint has cut its later lines
            after = 0 if again else asked
            file.seek(after)
            content = file.read(_MOST_BYTES)
        content = content[: content.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in content.splitlines()]
        return JSONResponse({"after": after + len(content), "again": again, "lines": lines})

    def log(self, request: Request) -> Response:
        """``text``: the last lines, without control characters; null where there is nothing new."""
        path, seen = self._folder(request) / LOG_FILE, _number(request, "seen")
        if not path.is_file():
            return JSONResponse({"seen": 0, "text": None})
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size == seen:
                return JSONResponse({"seen": size, "text": None})
            file.seek(max(0, size - _LOG_BYTES))
            content = file.read(_LOG_BYTES)
        if size > _LOG_BYTES:
            content = content[content.find(b"\n") + 1 :]
        return JSONResponse({"seen": size, "text": printable(content.decode(errors="backslashreplace"))})

    def batch(self, request: Request) -> Response:
        """A `BATCH_FILE`; null where there is none that the page has not."""
        folder = self._folder(request)
        try:
            if self._steps().get(folder.name, {}).get("state") != "done":  # else nobody is there to draw
                (folder / WANTED_FILE).touch()
            content = (folder / BATCH_FILE).read_bytes()
        except FileNotFoundError:
            return JSONResponse(None)
        except OSError as error:
            raise HTTPException(500, f"{error.filename}: {error.strerror}") from None
        if json.loads(content)["step"] == _number(request, "seen"):
            return JSONResponse(None)
        return Response(content, media_type="application/json")

    def _steps(self) -> dict[str, Any]:
        try:
            steps: dict[str, Any] = json.loads((self._work_dir / STATE_FILE).read_bytes())["steps"]
        except (OSError, ValueError, KeyError):
            return {}
        return steps

    def _folder(self, request: Request) -> Path:
        name = request.query_params.get("run", "")
        if name not in self._folders():
            raise HTTPException(404, f"run {name!r}: there is nothing of it")
        return self._work_dir / name

    def _folders(self) -> list[str]:
        """Those that were written to last come last."""
        changes: dict[str, float] = {}
        for path in (path for file in _FILES for path in self._work_dir.glob(f"*/{file}")):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                changes[path.parent.name] = max(changes.get(path.parent.name, 0.0), path.stat().st_ctime)
        names = sorted(changes, key=lambda name: changes[name])
        return [*names, ""] if any((self._work_dir / file).is_file() for file in _FILES) else names


def _number(request: Request, key: str) -> int:
    text = request.query_params.get(key, "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise HTTPException(400, f"{key}: expected a number")
    return int(text)


def application(work_dir: Path) -> ASGIApp:
    """The page of a work dir."""
    run = Run(work_dir)
    routes = [
        *web.page_routes(_PAGE, "live", (_PAGE / "index.html").read_bytes()),
        Route("/runs", run.runs),
        Route("/numbers", run.numbers),
        Route("/log", run.log),
        Route("/batch", run.batch, methods=["POST"]),
    ]
    served = Starlette(routes=routes, exception_handlers={HTTPException: web.told})
    return web.Door(served, None, True, ())


def main(words: list[str]) -> None:
    descriptor, work_dir, parent = words
    die_with_parent(int(parent))
    web.server(application(Path(work_dir))).run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main(sys.argv[1:])
