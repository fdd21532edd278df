"""What one request costs."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import httpx
import msgspec
import pytest
from transport.server import Server

from masivo._http import ThreadSender
from masivo._http.on_asyncio import Asyncio
from masivo._http.transport import Transport
from masivo.emulator import Emulator
from masivo.protocol import Failure, Request, Response

from .core import instructions


def request_to(url: str) -> Request:
    """A request as the core makes them."""
    names = "authorization", "content-type", "idempotency-key", "accept", "user-agent"
    return Request(1, "POST", url, tuple((name, "x") for name in names), b"{}", 10.0)


def test_a_request_takes_an_eighth_of_what_it_takes_httpx() -> None:
    """From the request to the response, over a connection that is open."""
    with Server() as server:
        request = request_to(server.url)
        headers = dict(request.headers)
        sender, client = ThreadSender(partial(Transport, server.url)), httpx.Client(trust_env=False)
        sender.send(request)
        ours = instructions(lambda: sender.send(request))
        client.post(request.url, content=b"{}", headers=headers)
        theirs = instructions(
            lambda: client.post(request.url, content=b"{}", headers=headers, timeout=10.0)
        )
        sender.close()
        client.close()
    assert ours <= theirs / 8


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
        sender = Transport(request.url, Asyncio())
        responses = [await sender.send(request) for _ in range(3)]
        await sender.aclose()
        return responses

    with Emulator() as emulator:
        request = msgspec.structs.replace(request_to(emulator.url), body=body)
        if world == "asyncio":
            responses = asyncio.run(in_a_loop(request))
        else:
            sender = ThreadSender(partial(Transport, request.url))
            responses = [sender.send(request) for _ in range(3)]
            sender.close()
    assert all(isinstance(response, Response) for response in responses)
    assert len(written) == 3
    assert all(data.startswith(b"POST ") and data.endswith(b"\r\n\r\n" + body) for data in written)
