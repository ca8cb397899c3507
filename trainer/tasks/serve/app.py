"""The paths of the server: a page for people, an interface for programs.

    GET  /            the page, with /serve.js and /serve.css
    POST /detect      a picture in, a COCO file with scores out
    GET  /vocabulary  the names that can be asked for, and the limits
    GET  /healthz     200 while questions are taken
    GET  /metrics     for Prometheus
    GET  /openapi.json
    GET  /report.html  a recipe's report, where there is one; its path is another where there is a token

Everything that goes wrong is ``{"error": "one line"}``; names without a row have ``"nearest"`` beside it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shared.errors import UserError, described
from shared.web import answering, page_routes, told
from trainer.tasks.serve import gate, openapi, uploads, words
from trainer.tasks.serve.engine import Busy, Engine, Question
from trainer.tasks.serve.gate import Gate
from trainer.tasks.serve.meters import Meters
from trainer.tasks.serve.report import Report
from trainer.tasks.serve.words import Dictionary, UnknownNames

PAGE = Path(__file__).parent / "page"
_BUSY_SECONDS = 1


def application(
    engine: Engine,
    dictionary: Dictionary,
    meters: Meters,
    token: str | None,
    rate: int,
    local: bool,
    turns: bool,
    report: Report | None = None,
) -> ASGIApp:
    """The server's application.

    Args:
        token, rate, local: see `Gate`.
        turns: whether pictures are turned as their EXIF orientation says.
    """
    about = {
        "vocabularies": [{"name": title, "names": names} for title, names in dictionary.names.items()],
        "takes_names": dictionary.takes_names,
        "embeds_names": dictionary.encoder is not None,
        "exif_orientation": turns,
        "report": report and report.path,
        "limits": {
            "bytes": gate.MOST_BYTES,
            "pixels": uploads.MOST_PIXELS,
            "names": words.MOST_NAMES,
            "pictures_per_minute": rate or None,
        },
    }

    async def detect(request: Request) -> Response:
        asked = await uploads.read(request)
        try:
            if asked.names is None:
                chosen = dictionary.vocabulary(asked.vocabulary)
            else:
                chosen = await run_in_threadpool(dictionary.typed, asked.names)
            answer = engine.ask(Question(asked.content, asked.title, chosen, asked.threshold))
            return Response(await asyncio.wrap_future(answer), media_type="application/json")
        except UnknownNames as error:
            return JSONResponse({"error": str(error), "nearest": error.nearest}, 422)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 422)
        except Busy:
            raise HTTPException(
                503, "too many pictures wait already; ask again", {"retry-after": str(_BUSY_SECONDS)}
            ) from None
        except Exception as error:  # the engine has told whoever runs the server
            return JSONResponse({"error": f"the detector failed: {described(error)}"}, 500)

    routes = [
        *page_routes(PAGE, "serve", _page()),
        Route("/detect", detect, methods=["POST"]),
        Route("/vocabulary", answering(about)),
        Route("/healthz", answering({"status": "ok"})),
        Route("/metrics", lambda _: Response(meters.text(), media_type=meters.content_type)),
        Route("/openapi.json", answering(openapi.document())),
        *([report.route] if report else []),
    ]
    served = Starlette(routes=routes, exception_handlers={HTTPException: told})
    return Gate(served, token, rate, local, meters, (report.path,) if report else ())


def _page() -> bytes:
    pages = Environment(loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined)
    return pages.get_template("index.html").render(operations=openapi.operations()).encode()
