"""``httpcore``, the engine of ``httpx``, behind as much of a client's face as is used here.

A client merges headers and addresses, keeps cookies, looks for credentials and follows redirects,
and turns each request and each answer into objects of its own; a pool shares its connections among
servers. Nothing of that is wanted here, and it was half of the CPU time of a request. There is one
server: a request takes a connection that is idle, or a new one.
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
"""How long a connection is kept for the next request, in seconds: as long as httpx does."""
_MOST_IDLE: Final = 20
"""How many are kept at most: as many as httpx does."""


def bare_client(kind: str, *, secure: bool) -> Any:
    """A client of our own.

    Args:
        kind: ``Client`` or ``AsyncClient``.
        secure: whether certificates will have to be verified.
    """
    return _Client(secure=secure) if kind == "Client" else _AsyncClient(secure=secure)


def is_bare(client: object) -> bool:
    """Whether it is such a client."""
    return isinstance(client, _Bare)


@cache  # there are two of them
def _target(url: str) -> tuple[httpcore.URL, bytes]:
    """An address, and what ``Host`` says of it."""
    import httpcore
    import httpx

    parsed = httpx.URL(url)
    target = httpcore.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )
    return target, parsed.netloc


class _Bare:
    def __init__(self, *, secure: bool) -> None:
        import httpcore  # only a client that needs it pays for it
        import httpx

        self._httpcore = httpcore
        self._context = httpx.create_ssl_context() if secure else None
        # Who waits longest goes first, and so is found when its time is over.
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
        """As a client's."""
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
        """A connection that is idle, if there is one; of several threads each gets another."""
        try:
            return self._idle.popleft()
        except IndexError:
            return None

    def _surplus(self, connection: Any) -> Any:
        """Take a connection back after a request; the one, if any, that is to be closed now."""
        if not connection.is_idle():
            return connection
        self._idle.append(connection)
        return self._pop() if self._closed or len(self._idle) > _MOST_IDLE else None


class _Answer:
    """As much of a client's answer as is looked at here."""

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
    def send(self, request: httpcore.Request, **_: object) -> _ClientAnswer:
        """As a client's, without a redirect and without credentials; its answer is a stream."""
        while (connection := self._pop()) is not None:
            if not connection.has_expired():
                break
            connection.close()
        else:
            connection = self._httpcore.HTTPConnection(
                request.url.origin, self._context, keepalive_expiry=_IDLE
            )
        try:
            return _ClientAnswer(connection.handle_request(request), connection, self)
        except BaseException:
            connection.close()
            raise

    def give_back(self, connection: httpcore.HTTPConnection) -> None:
        """Keep a connection whose answer is closed, if it can be used again."""
        if (surplus := self._surplus(connection)) is not None:
            surplus.close()

    def close(self) -> None:
        """As a client's."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()


class _ClientAnswer(_Answer):
    def __init__(self, response: httpcore.Response, connection: Any, client: _Client) -> None:
        super().__init__(response)
        self._connection = connection
        self._client = client

    def close(self) -> None:
        """As a client's answer's; an interrupt closes the connection, too."""
        try:
            self._response.close()
        except BaseException:
            # Broken off here it may call itself idle, and hold a lock for ever.
            self._connection.close()
            raise
        self._client.give_back(self._connection)


class _AsyncClient(_Bare):
    async def send(self, request: httpcore.Request, **_: object) -> _AsyncClientAnswer:
        """As a client's, without a redirect and without credentials; its answer is a stream."""
        while (connection := self._pop()) is not None:
            if not connection.has_expired():
                break
            await connection.aclose()
        else:
            connection = self._httpcore.AsyncHTTPConnection(
                request.url.origin, self._context, keepalive_expiry=_IDLE
            )
        try:
            answer = await connection.handle_async_request(request)
            return _AsyncClientAnswer(answer, connection, self)
        except BaseException:
            await connection.aclose()  # a cancellation closes it, too
            raise

    async def give_back(self, connection: httpcore.AsyncHTTPConnection) -> None:
        """Keep a connection whose answer is closed, if it can be used again."""
        if (surplus := self._surplus(connection)) is not None:
            await surplus.aclose()

    async def aclose(self) -> None:
        """As a client's: every one is closed, even if this is cancelled meanwhile."""
        self._closed = True
        if (connection := self._pop()) is not None:
            try:
                await connection.aclose()
            finally:
                await self.aclose()


class _AsyncClientAnswer(_Answer):
    def __init__(self, response: httpcore.Response, connection: Any, client: _AsyncClient) -> None:
        super().__init__(response)
        self._connection = connection
        self._client = client

    async def aclose(self) -> None:
        """As a client's answer's; a cancellation closes the connection."""
        try:
            await self._response.aclose()
        except BaseException:
            await self._connection.aclose()
            raise
        await self._client.give_back(self._connection)
