"""Servers that misbehave below HTTP, where the emulator cannot: in TCP itself."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SIP = 262_144
SIP_EVERY = 0.02
"""A slow reader takes at most so many bytes every so many seconds."""


@contextmanager
def serving(talk: Callable[[socket.socket, threading.Event], None]) -> Generator[int]:
    """Serve one connection after the other with ``talk`` in a thread; gives the port.

    ``talk`` gets the connection and an event that is set when the test is over.
    """
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    # Small from the start: the kernel must not swallow what the server does not read.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if over.is_set():
                connection.close()
                return
            with connection, suppress(OSError):
                talk(connection, over)

    thread = threading.Thread(target=serve, name="odd-server")
    thread.start()
    port: int = listener.getsockname()[1]
    try:
        yield port
    finally:
        over.set()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Accept, read nothing, say nothing."""
    over.wait(30)


def sipping(connection: socket.socket, over: threading.Event) -> None:
    """Read a little at a time, for ever, and say nothing."""
    connection.settimeout(0.1)
    while not over.wait(SIP_EVERY):
        with suppress(TimeoutError):
            if not connection.recv(SIP):
                return


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
