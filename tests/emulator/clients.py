"""Clients for the emulator's tests: plain sockets and `http.client`, nothing of the package."""

import http.client
import json
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from masivo.emulator import Emulator, Json

# Seconds after which a test's socket gives up; nothing here should come near.
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A client's response: status, headers with names in lower case, and the whole body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Json]:
        """The body, which must be a JSON object."""
        document: Json = json.loads(self.body)
        assert isinstance(document, dict)
        return document


def event(**fields: object) -> dict[str, object]:
    """Return a good event, with these fields added or replaced."""
    return {"customer_id": "c-1", "type": "ADD_TO_CART", "brand_id": None, **fields}


def batch(*events: object) -> bytes:
    """Return the body of a bulk request; without arguments, of one good event."""
    return json.dumps({"events": list(events) or [event()]}).encode()


class Client:
    """One keep-alive connection that speaks HTTP honestly."""

    def __init__(self, emulator: Emulator) -> None:
        parts = urlsplit(emulator.url)
        assert parts.hostname is not None
        self._emulator = emulator
        self._base = parts.path
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request to a path below the base URL and read the whole response."""
        self.connection.request(method, self._base + path, body, dict(headers or {}))
        response = self.connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, names, response.read())

    def authorize(self, key: str | None = None, *, sdk: str | None = "client") -> Reply:
        """Authorize with a key, the CLIENT key by default."""
        headers = {"x-api-key": self._emulator.client_key if key is None else key}
        if sdk is not None:
            headers["x-masivo-sdk"] = sdk
        return self.request("GET", "/auth/authorize", headers=headers)

    def token(self) -> str:
        """Authorize with the CLIENT key and return the token."""
        token = self.authorize().document["data"]
        assert isinstance(token, str)
        return token

    def send(self, token: str, body: bytes | None = None) -> Reply:
        """Send a batch."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return self.request("POST", "/behavior/events/bulk", body or batch(), headers)


@contextmanager
def connected(emulator: Emulator) -> Generator[Client]:
    """Open a connection to the emulator for as long as the block lasts."""
    client = Client(emulator)
    try:
        yield client
    finally:
        client.connection.close()


@contextmanager
def plain_socket(emulator: Emulator) -> Generator[socket.socket]:
    """Open a bare TCP connection to the emulator."""
    parts = urlsplit(emulator.url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=TIMEOUT) as sock:
        yield sock


def head(
    emulator: Emulator, method: str = "GET", path: str = "/auth/authorize", *more: str
) -> bytes:
    """Return the head of a request to a path below the base URL."""
    base = urlsplit(emulator.url).path
    lines = [f"{method} {base}{path} HTTP/1.1", "Host: localhost", *more, "", ""]
    return "\r\n".join(lines).encode()


def read_all(sock: socket.socket) -> bytes:
    """Read until the server closes the connection; raises ConnectionResetError on a reset."""
    data = bytearray()
    while chunk := sock.recv(65_536):
        data += chunk
    return bytes(data)
