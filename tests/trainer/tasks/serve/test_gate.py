"""How often one address may send a picture, on a clock of the test's own."""

from __future__ import annotations

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from trainer.tasks.serve import gate
from trainer.tasks.serve.gate import Gate
from trainer.tasks.serve.meters import Meters


async def answering(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Clock:
    """What the gate takes for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(gate.time, "monotonic", lambda: self.now)


def status(app: Gate, address: str = "1.2.3.4", method: str = "POST", host: str = "") -> int:
    """That of one request; the wait of a refusal stands for it, in seconds, negative."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/detect",
        "headers": [(b"host", host.encode())],
        "client": (address, 1),
    }
    asyncio.run(app(scope, receive, send))
    start = sent[0]
    if start["status"] != 429:
        return start["status"]
    return -int(dict(start["headers"])[b"retry-after"])


def test_an_address_may_send_so_many_pictures_a_minute_and_is_told_when_it_may_again(monkeypatch) -> None:
    clock = Clock(monkeypatch)
    app = Gate(answering, None, 6, False, Meters())
    assert [status(app) for _ in range(6)] == [200] * 6
    assert status(app) == -11 and status(app, "5.6.7.8") == 200 and status(app, method="GET") == 200
    clock.now += 4
    assert status(app) == -7  # to have been refused costs nothing
    clock.now += 6
    assert status(app) == 200 and status(app) == -11
    clock.now += 3600
    assert [status(app) for _ in range(7)] == [200] * 6 + [-11]


def test_without_a_rate_everybody_may_ask_as_often_as_they_like(monkeypatch) -> None:
    Clock(monkeypatch)
    app = Gate(answering, None, 0, False, Meters())
    assert [status(app) for _ in range(100)] == [200] * 100


def test_of_very_many_addresses_the_ones_that_came_last_are_remembered(monkeypatch) -> None:
    Clock(monkeypatch)
    monkeypatch.setattr(gate, "_ADDRESSES", 3)
    app = Gate(answering, None, 1, False, Meters())
    assert [status(app, f"10.0.0.{number}") for number in range(5)] == [200] * 5
    assert status(app, "10.0.0.4") < 0 and status(app, "10.0.0.0") == 200


def test_on_a_machine_that_serves_itself_alone_only_its_own_names_are_known() -> None:
    app, open_to_all = (Gate(answering, None, 0, local, Meters()) for local in (True, False))
    for host in ("127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000", "[::1]"):
        assert status(app, host=host) == 200, host
    for host in ("", "evil.example", "127.0.0.1.evil.example:8000", "localhost@evil.example", "[::1", "[x]:1"):
        assert status(app, host=host) == 400, host
        assert status(open_to_all, host=host) == 200


def test_a_body_that_comes_too_slowly_is_not_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.2)
    said: list[tuple[int, str]] = []

    async def asking(_: Scope, receive: Receive, __: Send) -> None:
        try:
            while True:
                await receive()
        except HTTPException as error:
            said.append((error.status_code, error.detail))

    async def trickle() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(_: Message) -> None:
        raise NotImplementedError

    scope = {"type": "http", "method": "POST", "path": "/detect", "headers": [], "client": ("1.2.3.4", 1)}
    asyncio.run(Gate(asking, None, 0, False, Meters())(scope, trickle, send))
    assert said == [(408, "the body did not come within 0.2 s")]
