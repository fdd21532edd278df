"""A server that does to each connection what a test says, and knows which of them are open."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["OK", "Peer", "Server", "respond"]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
PATIENCE = 20.0
"""How long a test waits for what must happen at once, in seconds."""
_SMALL = 65_536


class Peer:
    """One connection, as the server sees it."""

    def __init__(self, server: Server, number: int, sock: socket.socket) -> None:
        self.server = server
        self.number = number
        """How many connections there were before."""
        self.socket = sock

    def request(self) -> bytes:
        """Read a request, headers and body; nothing if the client is gone."""
        head = self.head()
        length = re.search(rb"(?i)content-length: (\d+)", head)
        body = bytearray()
        while length is not None and len(body) < int(length[1]):
            data = self.socket.recv(_SMALL)
            if not data:
                return b""
            body += data
        return head + bytes(body)

    def head(self) -> bytes:
        """Read a request's head, and nothing of its body."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = self.socket.recv(1)
            if not data:
                return b""
            head += data
        return head

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def reset(self) -> None:
        """Close it with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_for_the_end(self) -> None:
        """Read until the client closes the connection."""
        with suppress(OSError):
            while self.socket.recv(_SMALL):
                pass


def respond(data: bytes = OK) -> Callable[[Peer], None]:
    """What says the same to every request, until the client leaves."""

    def talk(peer: Peer) -> None:
        while peer.request():
            peer.say(data)

    return talk


class Server:
    """Serves on a loopback port, each connection in a thread of its own.

    Args:
        talk: what is done with a connection. When it returns, the server waits for the client
            to close it.
        tls: what the server needs to speak TLS.
        receives: how many bytes the kernel takes before the server reads them.
    """

    def __init__(
        self,
        talk: Callable[[Peer], None] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        receives: int | None = None,
    ) -> None:
        self._talk = respond() if talk is None else talk
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        if receives is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}/v1"
        self.peers: list[Peer] = []
        """Every connection there has been."""
        self.over = threading.Event()
        """Set when the test is over."""
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, name="test-server")

    @property
    def opened(self) -> int:
        """How many connections there have been."""
        return len(self.peers)

    def all_are_closed(self) -> bool:
        """Wait until the client has closed every connection."""
        deadline = time.monotonic() + PATIENCE
        # One may be accepted, late, while another is waited for.
        while open_ones := [thread for thread in self._threads if thread.is_alive()]:
            if time.monotonic() > deadline:
                return False
            open_ones[0].join(PATIENCE)
        return True

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self.over.is_set():
                sock.close()
                return
            thread = threading.Thread(target=self._serve, args=(sock,), name="test-connection")
            thread.start()
            self._threads.append(thread)

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is said leaves at once
        peer = Peer(self, len(self.peers), sock)
        self.peers.append(peer)
        with suppress(OSError, ValueError):
            if self._tls is not None:
                peer.socket = self._tls.wrap_socket(sock, server_side=True)
            self._talk(peer)
        peer.wait_for_the_end()
        peer.socket.close()

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.over.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._acceptor.join(PATIENCE)
        self._listener.close()
        closed = self.all_are_closed()
        for peer in self.peers:
            peer.socket.close()
        assert closed or kind is not None, "the client has left a connection open"
