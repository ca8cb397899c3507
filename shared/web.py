"""A web page of ours: who may come in, and the files of its page.

    `shared.listening` ─ socket ─► server ─ uvicorn ─► `Door`, or another that asks `refusal` ─► routes
         400  a name of the machine that is not its own, where it serves itself alone: a page of somebody else's, open
              in a browser here, could give its own name this machine's address
         401  without the token that it was started with

A page is ``page/index.html`` with one script and one style sheet, each behind what all pages have in common
(``shared/page``). Nothing comes from elsewhere, and `HEADERS` say so to the browser.

Needs Starlette and uvicorn, which come with either program.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_COMMON = Path(__file__).parent / "page"
_KINDS = {"js": "text/javascript", "css": "text/css"}
_LOCAL = ("127.0.0.1", "localhost", "::1")
_CONNECTIONS = 256  # further ones are answered 503
_GRACE_SECONDS = 60

Endpoint = Callable[[Request], Awaitable[Response]]


def server(app: ASGIApp) -> uvicorn.Server:
    """Serves `app` by its ``run(sockets=[listener])``, without a line about what strangers send."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )


def refusal(scope: Scope, token: str | None, local: bool, open_paths: tuple[str, ...]) -> HTTPException | None:
    """Why a request may not come in; None where it may.

    Args:
        token: None: everybody may ask.
        local: whether the server serves this machine alone.
        open_paths: what needs no token.
    """
    headers = Headers(scope=scope)
    if local and _host(headers.get("host", "")) not in _LOCAL:
        return HTTPException(400, "Host: expected 127.0.0.1, localhost or [::1]")
    if token is not None and scope["path"] not in open_paths:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), token.encode()):
            return HTTPException(
                401, "a token is needed: 'Authorization: Bearer TOKEN'", {"www-authenticate": "Bearer"}
            )
    return None


class Door:
    """The outermost application, which lets in who may ask; arguments are those of `refusal`."""

    def __init__(self, app: ASGIApp, token: str | None, local: bool, open_paths: tuple[str, ...]) -> None:
        self._app, self._who = app, (token, local, open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = refusal(scope, *self._who)
        app = self._app if refused is None else JSONResponse({"error": refused.detail}, refused.status_code)
        await app(scope, receive, headed)


def page_files(folder: Path, name: str) -> dict[str, bytes]:
    """The script and the style sheet of a page, by ``js`` and ``css``: those of `folder` behind what all pages have."""
    return {end: (_COMMON / f"common.{end}").read_bytes() + (folder / f"{name}.{end}").read_bytes() for end in _KINDS}


def page_routes(folder: Path, name: str, index: bytes) -> list[Route]:
    """``/`` is `index`; ``/NAME.js`` and ``/NAME.css`` are its `page_files`."""
    files = {f"/{name}.{end}": (content, _KINDS[end]) for end, content in page_files(folder, name).items()}
    return [Route(path, _static(*found)) for path, found in {"/": (index, "text/html"), **files}.items()]


def answering(content: Any) -> Endpoint:
    """Always the same JSON."""

    async def answer(_: Request) -> Response:
        return JSONResponse(content)

    return answer


async def told(_: Request, error: Exception) -> Response:
    """What went wrong, as ``{"error": "one line"}``."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _static(content: bytes, kind: str) -> Endpoint:
    async def answer(_: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _host(text: str) -> str | None:
    """The name in a Host header, without its port; None where it has none."""
    try:
        return urlsplit(f"//{text}").hostname
    except ValueError:
        return None
