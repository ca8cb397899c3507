"""What every request passes before anybody reads it: who asks, how often, and how much it brings.

    400  a name of the machine that is not its own, where it serves itself alone: a page of somebody else's, open in a
         browser here, could give its own name this machine's address
    401  without the token that the server was started with
    429  more pictures a minute than one address may send
    413  a body of more than MOST_BYTES; 408 one that takes longer than BODY_SECONDS

Whoever is refused while it is still sending is listened to for a little longer, unread: a client that cannot send its
request to the end often does not look at the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.web import HEADERS, refusal
from trainer.tasks.serve.meters import Meters

MOST_BYTES = 16 << 20
BODY_SECONDS = 30
_OPEN = ("/", "/serve.js", "/serve.css", "/healthz", "/openapi.json")  # nothing of the detector's is there
_COUNTED = (*_OPEN, "/detect", "/vocabulary", "/metrics")
_LISTENED = 4 * MOST_BYTES
_LISTEN_SECONDS = 2
_ADDRESSES = 4096


class Gate:
    """The outermost application.

    Args:
        token: None: everybody may ask.
        rate: pictures a minute from one address; 0: as many as come.
        local: whether it serves this machine alone.
        open_paths: more of those that need no token.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        rate: int,
        local: bool,
        meters: Meters,
        open_paths: tuple[str, ...] = (),
    ) -> None:
        self._open = (*_OPEN, *open_paths)
        self._app, self._token, self._rate, self._local, self._meters = app, token, rate, local, meters
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (pictures, at what time)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for key, value in HEADERS.items():
                    headers.setdefault(key, value)
                path = scope["path"] if scope["path"] in _COUNTED else "other"
                self._meters.requests.labels(path, str(message["status"])).inc()
            await send(message)

        refused = self._refusal(scope)
        if refused is None:
            return await self._app(scope, _limited(receive), told)
        response = JSONResponse({"error": refused.detail}, refused.status_code, refused.headers)
        start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        await told(start)
        await told({"type": "http.response.body", "body": response.body, "more_body": True})
        await _listen(receive)
        await told({"type": "http.response.body", "body": b""})

    def _refusal(self, scope: Scope) -> HTTPException | None:
        headers = Headers(scope=scope)
        if refused := refusal(scope, self._token, self._local, self._open):
            return refused
        if int(headers.get("content-length", "0")) > MOST_BYTES:
            return HTTPException(413, too_large())
        if scope["method"] == "POST" and (seconds := self._wait(scope["client"][0])) > 0:
            return HTTPException(
                429,
                f"at most {self._rate} pictures a minute from one address; ask again in {seconds} s",
                {"retry-after": str(seconds)},
            )
        return None

    def _wait(self, address: str) -> int:
        """Seconds until `address` may send another picture; 0: it may, and has one less left."""
        if not self._rate:
            return 0
        now = time.monotonic()
        left, since = self._left.pop(address, (float(self._rate), now))
        left = min(left + (now - since) * self._rate / 60, float(self._rate))
        self._left[address] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)
        return 0 if left >= 1 else int((1 - left) * 60 / self._rate) + 1


def too_large() -> str:
    """What is said of a body above the limit."""
    return f"the body is larger than {MOST_BYTES >> 20} MiB; send a smaller picture"


def _limited(receive: Receive) -> Receive:
    """`receive` for a body that is neither too large nor too slow."""
    came, deadline = 0, time.monotonic() + BODY_SECONDS
    ended = False

    async def counted() -> Message:
        nonlocal came, ended
        if ended:  # what comes now is the end of the connection, which has time
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), deadline - time.monotonic())
        except TimeoutError:
            raise HTTPException(408, f"the body did not come within {BODY_SECONDS} s") from None
        came += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        if came > MOST_BYTES:
            raise HTTPException(413, too_large())
        return message

    return counted


async def _listen(receive: Receive) -> None:
    came = 0
    try:
        while came < _LISTENED:
            message = await asyncio.wait_for(receive(), _LISTEN_SECONDS)
            came += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return
    except TimeoutError:
        return
