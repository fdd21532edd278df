"""A server that says exactly the bytes that it is told to, and then closes, resets or waits."""

from __future__ import annotations

import json
import selectors
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .responses import TOKEN

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator

__all__ = ["Says", "Scripted", "scripted"]

GRANT = json.dumps({"data": TOKEN}).encode()


@dataclass(frozen=True, slots=True)
class Says:
    """One answer."""

    data: bytes
    """What is sent."""
    then: Literal["close", "reset", "wait"] = "close"
    """What follows; ``wait``: nothing, until the client goes away."""


def well(request: bytes) -> Says:
    """What a server says that is well."""
    body = GRANT if request.startswith(b"GET") else b"{}"
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return Says(head.encode() + body)


@dataclass(slots=True)
class Scripted:
    """What the server is to say to the next requests; when that is used up, it is well."""

    port: int
    script: list[Says] = field(default_factory=list[Says])
    said: list[tuple[bytes, Says]] = field(default_factory=list[tuple[bytes, Says]])
    """Each request, and what it was answered."""

    def answer(self, request: bytes) -> Says:
        """What is said to a request."""
        says = self.script.pop(0) if self.script else well(request)
        self.said.append((request, says))
        return says


@contextmanager
def scripted(tls: ssl.SSLContext | None = None) -> Generator[Scripted]:
    """Serve on a loopback port, each connection in a thread of its own, one request each."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    wakes, waker = socket.socketpair()
    server = Scripted(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def accept() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(wakes, selectors.EVENT_READ)
            while True:
                if any(key.fileobj is wakes for key, _ in selector.select()):
                    return
                connection, _ = listener.accept()
                thread = threading.Thread(target=serve, args=(connection,), name="scripted")
                threads.append(thread)
                thread.start()

    def serve(plain: socket.socket) -> None:
        plain.settimeout(20)
        with plain, suppress(OSError, ValueError):
            connection = plain if tls is None else tls.wrap_socket(plain, server_side=True)
            with connection:
                talk(server, connection)

    acceptor = threading.Thread(target=accept, name="scripted-accept")
    acceptor.start()
    try:
        yield server
    finally:
        waker.close()
        acceptor.join(20)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        listener.close()
        wakes.close()


def talk(server: Scripted, connection: socket.socket) -> None:
    """Read one request, answer it."""
    request = read_request(connection)
    if not request:
        return
    says = server.answer(request)
    connection.sendall(says.data)
    if says.then == "wait":
        while connection.recv(65_536):
            pass
    elif says.then == "reset":
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def read_request(connection: socket.socket) -> bytes:
    """A request, headers and body; empty if the client left before."""
    request = b""
    while b"\r\n\r\n" not in request:
        data = connection.recv(65_536)
        if not data:
            return b""
        request += data
    head, _, body = request.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        data = connection.recv(65_536)
        if not data:
            return b""
        body += data
    return head + b"\r\n\r\n" + body
