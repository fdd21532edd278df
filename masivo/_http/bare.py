"""A minimal client over the connections of ``httpcore``, the engine of ``httpx``.

A client of ``httpx`` merges headers and addresses, keeps cookies, looks for credentials, follows
redirects and makes its own objects of each request and response; its pool serves many servers.
None of that is needed here, and it costs as much CPU time as the rest of a request. There is one
server: a request takes an idle connection, or a new one.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    import httpcore

__all__ = ["Timeouts", "bare_client", "is_bare"]

Timeouts: TypeAlias = tuple[float | None, float | None, float | None, float | None]
"""Seconds to connect, to read, to write and to wait for a connection; None for no limit."""

_IDLE: Final = 5.0
"""Seconds that an idle connection is kept for the next request: as in httpx."""
_MAX_IDLE: Final = 20
"""The largest number of idle connections that are kept: as in httpx."""


def bare_client(kind: str, *, secure: bool) -> Any:
    """Return a minimal client.

    Args:
        kind: ``Client`` or ``AsyncClient``.
        secure: True if certificates must be verified.
    """
    return _Client(secure=secure) if kind == "Client" else _AsyncClient(secure=secure)


def is_bare(client: object) -> bool:
    """Return whether it is such a client."""
    return isinstance(client, _Bare)


@cache  # there are two of them
def _target(url: str) -> tuple[httpcore.URL, bytes]:
    """Return the parsed address, and the value of its ``Host`` header."""
    import httpcore
    import httpx

    parsed = httpx.URL(url)
    target = httpcore.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )
    return target, parsed.netloc


class _Bare:
    def __init__(self, *, secure: bool) -> None:
        import httpcore  # imported only by the clients that need it
        import httpx

        self._httpcore = httpcore
        self._context = httpx.create_ssl_context() if secure else None
        # The longest idle is taken first, so that expired connections are found.
        self._idle: deque[Any] = deque()
        self._closed = False

    def build_request(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | None,
        timeout: Timeouts,
        extensions: dict[str, object],
    ) -> httpcore.Request:
        """Build a request, like the method of a client."""
        target, host = _target(url)
        own = [(b"host", host)]
        if content is not None:
            own.append((b"content-length", b"%d" % len(content)))
        timeouts = dict(zip(("connect", "read", "write", "pool"), timeout, strict=True))
        return self._httpcore.Request(
            method,
            target,
            headers=[*own, *[(name.encode(), value.encode()) for name, value in headers]],
            content=content or b"",
            extensions={"timeout": timeouts, **extensions},
        )

    def _pop(self) -> Any:
        """Return an idle connection, or None; each of several threads gets a different one."""
        try:
            return self._idle.popleft()
        except IndexError:
            return None

    def _surplus(self, connection: Any) -> Any:
        """Keep a connection after its request; return the connection, if any, to close now."""
        if not connection.is_idle():
            return connection
        self._idle.append(connection)
        return self._pop() if self._closed or len(self._idle) > _MAX_IDLE else None


class _Response:
    """The part of a client's response that is used here."""

    is_stream_consumed: Final = False

    def __init__(self, response: httpcore.Response) -> None:
        self.status_code = response.status
        self.headers = _Headers(response.headers)
        self.stream: Iterable[bytes] | AsyncIterable[bytes] = response.stream
        self._response = response


class _Headers:
    __slots__ = ("raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw = raw


class _Client(_Bare):
    def send(self, request: httpcore.Request, **_: object) -> _ClientResponse:
        """Send a request, without redirects or credentials; the response's body is a stream."""
        while (connection := self._pop()) is not None:
            if not connection.has_expired():
                break
            connection.close()
        else:
            connection = self._httpcore.HTTPConnection(
                request.url.origin, self._context, keepalive_expiry=_IDLE
            )
        try:
            return _ClientResponse(connection.handle_request(request), connection, self)
        except BaseException:
            connection.close()
            raise

    def give_back(self, connection: httpcore.HTTPConnection) -> None:
        """Keep a connection whose response is closed, if it can be used again."""
        if (surplus := self._surplus(connection)) is not None:
            surplus.close()

    def close(self) -> None:
        """Close every idle connection, and each other one after its request."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()


class _ClientResponse(_Response):
    def __init__(self, response: httpcore.Response, connection: Any, client: _Client) -> None:
        super().__init__(response)
        self._connection = connection
        self._client = client

    def close(self) -> None:
        """Close the response; an interrupt closes the connection, too."""
        try:
            self._response.close()
        except BaseException:
            # Interrupted here it may report itself idle, and keep a lock for ever.
            self._connection.close()
            raise
        self._client.give_back(self._connection)


class _AsyncClient(_Bare):
    async def send(self, request: httpcore.Request, **_: object) -> _AsyncClientResponse:
        """Send a request, without redirects or credentials; the response's body is a stream."""
        while (connection := self._pop()) is not None:
            if not connection.has_expired():
                break
            await connection.aclose()
        else:
            connection = self._httpcore.AsyncHTTPConnection(
                request.url.origin, self._context, keepalive_expiry=_IDLE
            )
        try:
            response = await connection.handle_async_request(request)
            return _AsyncClientResponse(response, connection, self)
        except BaseException:
            await connection.aclose()  # also after a cancellation
            raise

    async def give_back(self, connection: httpcore.AsyncHTTPConnection) -> None:
        """Keep a connection whose response is closed, if it can be used again."""
        if (surplus := self._surplus(connection)) is not None:
            await surplus.aclose()

    async def aclose(self) -> None:
        """Close every idle connection, even if this is cancelled meanwhile."""
        self._closed = True
        if (connection := self._pop()) is not None:
            try:
                await connection.aclose()
            finally:
                await self.aclose()


class _AsyncClientResponse(_Response):
    def __init__(self, response: httpcore.Response, connection: Any, client: _AsyncClient) -> None:
        super().__init__(response)
        self._connection = connection
        self._client = client

    async def aclose(self) -> None:
        """Close the response; a cancellation closes the connection, too."""
        try:
            await self._response.aclose()
        except BaseException:
            await self._connection.aclose()
            raise
        await self._client.give_back(self._connection)
