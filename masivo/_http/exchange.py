"""One request and its response, as bytes. No I/O, no clock.

A regular expression reads the common response: a complete 200 of known length, in one piece. h11
reads any other, from its first byte.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import h11

from masivo.protocol import MAX_BODY, Response, read_body

from .failures import BrokenResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from masivo.protocol import Request

__all__ = ["Exchange", "body_of", "joined", "request_bytes"]

MAX_HEAD: Final = 102_400
"""The largest status line with headers, in bytes."""
MAX_RESPONSE: Final = MAX_HEAD + MAX_BODY
"""The most bytes that are read, interim responses and the framing of chunks included: a server that
never ends could be faster than we are."""

_COMMON: Final = re.compile(
    rb"HTTP/1\.1 200 [!-~ ]*\r\n"
    rb"((?:[A-Za-z0-9-]+: *[!-~](?:[ -~]*[!-~])?\r\n)+)"
    rb"\r\n"
)
_HEADER: Final = re.compile(rb"([^:]+): *([^\r]+)\r\n")
_SUCCESS: Final = re.compile(
    rb"(?>HTTP/1\.1 1[0-9]{2}[ \r\n].*?\n\r?\n)*+"  # interim responses
    rb"HTTP/1\.[01] (2[0-9]{2})[ \r\n].*?\n\r?\n",
    re.DOTALL,
)


def request_bytes(request: Request, origin: str, *, keep_alive: bool = True) -> bytes:
    """Return the bytes of a request.

    Args:
        request: the request; its ``url`` begins with the origin.
        origin: scheme, host and port (where it has one): ``https://host:port``.
        keep_alive: False to ask the server to close the connection after its response.

    Raises:
        ValueError: it holds a character that would break out of its line.
    """
    lines = [
        f"{request.method} {request.url.removeprefix(origin) or '/'} HTTP/1.1",
        f"host: {origin.partition('://')[2]}",
        *[f"{name}: {value}" for name, value in request.headers],
        # Not deflate: servers send two forms of it, of which only one is right (RFC 9110, 8.4.1.2).
        "accept-encoding: gzip",
    ]
    if request.method != "GET" or request.body:
        lines.append(f"content-length: {len(request.body)}")
    if not keep_alive:
        lines.append("connection: close")
    if not all(line.isprintable() and line.isascii() for line in lines):
        raise ValueError("the request holds a character that no header can carry")
    return "\r\n".join([*lines, "\r\n"]).encode() + request.body


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers under their names in lower case; what came twice is joined by commas."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def body_of(headers: Mapping[str, str], raw: bytes | bytearray) -> bytes:
    """Return the body of a response without its encoding.

    Args:
        headers: the response's, under lower-case names.
        raw: the body as it was sent.

    Raises:
        BrokenResponseError: it is not what its headers say, or longer than MAX_BODY.
    """
    try:
        return read_body(headers, bytes(raw), MAX_BODY) if raw else b""
    except ValueError as error:
        raise BrokenResponseError(str(error)) from error


class Exchange:
    """Reads the response to one request.

    Args:
        method: the request's.
    """

    def __init__(self, method: str) -> None:
        self.status: int | None = None
        """The status of the response, once its headers have arrived."""
        self.reusable = False
        """True if the connection can carry another request."""
        self._method = method
        self._h11: h11.Connection | None = None
        self._read = bytearray()  # all that h11 was given
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def receive(self, data: bytes) -> Response | None:
        """Process bytes that have arrived; return the response once it is complete.

        Args:
            data: the bytes; none at the connection's end.

        Raises:
            BrokenResponseError: they cannot be, or become, a usable response.
        """
        if not data and self.status is None:
            raise BrokenResponseError("the server closed the connection")
        if self._h11 is None:
            if response := self._receive_common(data):
                return response
            self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            # h11 must know only that a request was sent, and its method.
            self._h11.send(h11.Request(method=self._method, target="/", headers=[("host", "-")]))
            self._h11.send(h11.EndOfMessage())
        self._read.extend(data)
        if len(self._read) > MAX_RESPONSE:
            raise BrokenResponseError(f"it is longer than {MAX_RESPONSE} bytes")
        try:
            self._h11.receive_data(data)
            return self._receive_by_h11(self._h11)
        except h11.RemoteProtocolError as error:
            if self.status is None and (success := _SUCCESS.match(self._read)):
                self.status = int(success[1])  # a success, though h11 does not accept its headers
            raise BrokenResponseError(str(error)) from error

    def _receive_common(self, data: bytes) -> Response | None:
        head = _COMMON.match(data)
        if head is None:
            return None
        headers = joined(_HEADER.findall(head[1]))
        if (
            headers.get("content-length") != str(len(data) - head.end())
            or len(data) > MAX_BODY
            or "transfer-encoding" in headers
            or "content-encoding" in headers
            or headers.get("connection", "keep-alive").lower() != "keep-alive"
        ):
            return None
        self.status, self.reusable = 200, True
        return Response(200, headers, data[head.end() :])

    def _receive_by_h11(self, connection: h11.Connection) -> Response | None:
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                self.status, self._headers = event.status_code, joined(event.headers)
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                following, ended = connection.trailing_data
                # A 204 or 304 ends with its headers, whatever these say (RFC 9112, 6.3).
                if following and self.status not in (204, 304):
                    raise BrokenResponseError("more bytes follow than it has announced")
                assert self.status is not None  # noqa: S101
                # Both states are DONE also after a response that ends with its connection.
                done = connection.our_state is connection.their_state is h11.DONE
                self.reusable = done and not ended and not following
                return Response(self.status, self._headers, body_of(self._headers, self._body))
        return None
