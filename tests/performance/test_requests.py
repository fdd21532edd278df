"""What one request asks of the HTTP library."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any, Final

import httpcore
import httpx
import msgspec
import pytest

from masivo._http import AsyncHttp, Http
from masivo.emulator import Emulator
from masivo.protocol import Failure, Request, Response

from .core import instructions

BODY: Final = b'{"data":"a-token"}'


def request_to(url: str) -> Request:
    """A request as the core makes them."""
    names = "authorization", "content-type", "idempotency-key", "accept", "user-agent"
    return Request(1, "POST", url, tuple((name, "x") for name in names), b"{}", 10.0)


def test_a_request_takes_little_more_than_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Around what a connection does, we execute an eighth of what httpx does."""

    def answer(*_: object) -> httpcore.Response:
        return httpcore.Response(200, content=BODY)

    monkeypatch.setattr(httpcore.HTTPConnection, "handle_request", answer)
    url = "http://127.0.0.1:9/behavior/events/bulk"
    http, request = Http(None, url), request_to(url)
    client = httpx.Client(trust_env=False)
    assert http.send(request) == Response(200, {}, BODY)
    ours = instructions(lambda: http.send(request))
    theirs = instructions(
        lambda: client.post(url, content=b"{}", headers=dict(request.headers), timeout=10.0)
    )
    assert ours <= theirs / 8


def test_a_request_is_traced_until_it_is_on_its_way() -> None:
    """On a connection that is open, one step of the ten that the library takes is traced."""
    steps: list[str] = []
    with Emulator() as emulator, httpx.Client(trust_env=False) as client:
        http = Http(client, emulator.url)
        deadline: Any = http._deadline
        trace = deadline.trace

        def counting(name: str, info: dict[str, Any]) -> None:
            steps.append(name)
            trace(name, info)

        deadline.trace = counting
        for _ in range(2):
            steps.clear()
            assert isinstance(http.send(request_to(emulator.url)), Response)
    assert [step.partition(".")[2] for step in steps] == [
        "send_request_headers.started",
        "send_request_headers.complete",
    ]


@pytest.mark.parametrize("world", ["threads", "asyncio"])
@pytest.mark.parametrize("body", [b"{}", b""])
def test_a_request_is_one_write(world: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body go out together; a request without a body is complete with its head."""
    written: list[bytes] = []
    send = socket.socket.send

    def recording(self: socket.socket, data: bytes, *flags: int) -> int:
        if bytes(data[:5]) == b"POST " or (written and bytes(data) == body):
            written.append(bytes(data))
        return send(self, data, *flags)

    monkeypatch.setattr(socket.socket, "send", recording)

    async def in_a_loop(request: Request) -> list[Response | Failure]:
        http = AsyncHttp(None, request.url, asyncio.timeout, partial(asyncio.sleep, 0))
        answers = [await http.send(request) for _ in range(3)]
        await http.aclose()
        return answers

    with Emulator() as emulator:
        request = msgspec.structs.replace(request_to(emulator.url), body=body)
        if world == "asyncio":
            answers = asyncio.run(in_a_loop(request))
        else:
            http = Http(None, request.url)
            answers = [http.send(request) for _ in range(3)]
            http.close()
    assert all(isinstance(answer, Response) for answer in answers)
    assert len(written) == 3
    assert all(data.startswith(b"POST ") and data.endswith(b"\r\n\r\n" + body) for data in written)
