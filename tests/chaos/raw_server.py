"""A server that says exactly the bytes that a test gives it, and then closes, resets or waits."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from transport.server import Peer, Server

from .responses import TOKEN

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Says", "Scripted", "scripted"]

GRANT = json.dumps({"data": TOKEN}).encode()


@dataclass(frozen=True, slots=True)
class Says:
    """One response."""

    data: bytes
    """The bytes that are sent."""
    then: Literal["close", "reset", "wait"] = "close"
    """The end of the connection; ``wait``: the client's to make."""


def well(request: bytes) -> Says:
    """The response of a server that is well."""
    body = GRANT if request.startswith(b"GET") else b"{}"
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return Says(head.encode() + body)


@dataclass(slots=True)
class Scripted:
    """The responses to the next requests; when they are used up, the server is well."""

    port: int = 0
    script: list[Says] = field(default_factory=list[Says])
    said: list[tuple[bytes, Says]] = field(default_factory=list[tuple[bytes, Says]])
    """Each request, and its response."""

    def talk(self, peer: Peer) -> None:
        """Read one request, and respond."""
        request = peer.request()
        if not request:
            return
        says = self.script.pop(0) if self.script else well(request)
        self.said.append((request, says))
        peer.say(says.data)
        if says.then == "close":
            peer.close()
        elif says.then == "reset":
            peer.reset()


@contextmanager
def scripted() -> Generator[Scripted]:
    """Serve on a loopback port, one request on each connection."""
    served = Scripted()
    with Server(served.talk) as server:
        served.port = server.port
        yield served
