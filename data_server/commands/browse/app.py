"""The paths of the page; S is a split.

    GET /                                          the page, with /browse.js and /browse.css
    GET /data                                      the config's splits, and its seed
    GET /S                                         its data sets: images, classes
    GET /S/images?source=&name=&size=&find=&start=&count=
                                                   how many images are wanted, and some of them with their boxes
    GET /S/picture/PLACE?edge=                     a JPEG
    GET /S/sample/PLACE?seed=                      an image of that place as the trainer gets it
    GET /S/batch/STEP                              what is in a batch: the stream's images and their seeds
    GET /S/fed/INDEX?seed=&switched=               one of them, as the trainer gets it
    GET /S/numbers?source=, /S/brightness?source=  histograms
    GET /S/alike?source=                           the names of a data set that are hard to tell apart
    GET /S/findings                                what `check` finds
    GET /healthz

A seed has 64 bits and is a text in JSON, where numbers have 53. What goes wrong is ``{"error": "one line"}``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from data_server.commands.browse import numbers, pictures
from data_server.commands.browse.alike import alike
from data_server.commands.browse.catalogue import SIZES, Catalogue, Wanted
from data_server.commands.browse.splits import Splits
from data_server.datasets.samples import BadSample
from shared.errors import UserError
from shared.web import Door, Endpoint, answering, page_routes, told

PAGE = Path(__file__).parent / "page"
MOST_IMAGES = 200  # in an answer
MOST_EDGE = 4096
_MOST_STEP = 1 << 40
_OPEN = ("/", "/browse.js", "/browse.css", "/healthz")  # nothing of the data is there


def application(splits: Splits, token: str | None, local: bool) -> ASGIApp:
    """The server's application; see `shared.web.refusal` for `token` and `local`."""

    def in_thread(work: Callable[[Request], Response | dict[str, Any]]) -> Endpoint:
        async def answered(request: Request) -> Response:
            try:
                found = await run_in_threadpool(work, request)
            except (UserError, BadSample) as error:
                return JSONResponse({"error": str(error)}, 422)
            return found if isinstance(found, Response) else JSONResponse(found)

        return answered

    def of_split(answer: Callable[[Catalogue, Request], Response | dict[str, Any]]) -> Endpoint:
        return in_thread(lambda request: answer(splits.opened(request.path_params["split"]), request))

    def findings(request: Request) -> dict[str, Any]:  # also of a split that cannot be opened
        return {"findings": splits.findings(request.path_params["split"])}

    paths: dict[str, Callable[[Catalogue, Request], Response | dict[str, Any]]] = {
        "": lambda catalogue, _: catalogue.outline(),
        "/images": _images,
        "/picture/{place:int}": _picture,
        "/sample/{place:int}": _sample,
        "/fed/{index:int}": _fed,
        "/batch/{step:int}": _batch,
        "/numbers": lambda catalogue, request: numbers.numbers(catalogue, _source(catalogue, request)),
        "/brightness": lambda catalogue, request: numbers.brightness(catalogue, _source(catalogue, request)),
        "/alike": lambda catalogue, request: alike(catalogue, _source(catalogue, request) or 0, splits.head),
    }
    routes = [
        *page_routes(PAGE, "browse", (PAGE / "index.html").read_bytes()),
        Route("/data", answering(splits.outline())),
        Route("/healthz", answering({"status": "ok"})),
        Route("/{split}/findings", in_thread(findings)),
        *(Route(f"/{{split}}{path}", of_split(answer)) for path, answer in paths.items()),
    ]
    return Door(Starlette(routes=routes, exception_handlers={HTTPException: told}), token, local, _OPEN)


def _images(catalogue: Catalogue, request: Request) -> dict[str, Any]:
    asked = request.query_params
    size = asked.get("size") or None
    if size is not None and size not in SIZES:
        raise HTTPException(400, f"size: expected one of {', '.join(SIZES)}")
    name, find = asked.get("name") or None, asked.get("find") or None
    places = catalogue.chosen(Wanted(_source(catalogue, request), name, size, find))
    start, count = _number(request, "start", len(places)), _number(request, "count", MOST_IMAGES)
    shown = places[start : start + count].tolist()
    return {"total": len(places), "images": [catalogue.entry(place) for place in shown]}


def _picture(catalogue: Catalogue, request: Request) -> Response:
    edge = _number(request, "edge", MOST_EDGE) or MOST_EDGE
    return Response(pictures.jpeg(catalogue, request.path_params["place"], edge), media_type="image/jpeg")


def _sample(catalogue: Catalogue, request: Request) -> dict[str, Any]:
    index = catalogue.index_of(request.path_params["place"])
    return pictures.sample(catalogue, index, _number(request, "seed", 2**64 - 1), False)


def _fed(catalogue: Catalogue, request: Request) -> dict[str, Any]:
    switched = bool(_number(request, "switched", 1))
    return pictures.sample(catalogue, request.path_params["index"], _number(request, "seed", 2**64 - 1), switched)


def _batch(catalogue: Catalogue, request: Request) -> dict[str, Any]:
    step, plan = request.path_params["step"], catalogue.plan()
    if step >= _MOST_STEP:
        raise HTTPException(400, f"step: expected less than {_MOST_STEP}")
    batch = plan.batch(step)
    return {
        "epoch": batch.epoch,
        "steps_per_epoch": plan.steps_per_epoch,
        "valid": batch.valid,
        "switched": int(batch.switched),
        "samples": [[index, str(seed)] for index, seed in zip(batch.indices, batch.seeds, strict=True)],
    }


def _source(catalogue: Catalogue, request: Request) -> int | None:
    if not request.query_params.get("source"):
        return None
    return _number(request, "source", len(catalogue.parts) - 1)


def _number(request: Request, key: str, most: int) -> int:
    """A number of the query; 0 where there is none."""
    text = request.query_params.get(key) or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= most):
        raise HTTPException(400, f"{key}: expected a number from 0 to {most}")
    return int(text)
