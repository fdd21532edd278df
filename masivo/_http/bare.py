"""``httpcore``, the engine of ``httpx``, behind as much of a client's face as is used here.

A client merges headers and addresses, keeps cookies, looks for credentials and follows redirects,
and turns each request and each answer into objects of its own. Nothing of that is wanted here, and
it was more than a third of the CPU time of a request.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    import httpcore

__all__ = ["Timeouts", "bare_client", "is_bare"]

Timeouts: TypeAlias = tuple[float | None, float | None, float | None, float | None]
"""Seconds to connect, to read, to write and to wait for a connection; None for no limit."""

# httpx's own defaults, but for the number of connections: threads that send are never too many.
_POOL: Final[dict[str, Any]] = {
    "max_connections": None,
    "max_keepalive_connections": 20,
    "keepalive_expiry": 5.0,
}


def bare_client(kind: str, *, secure: bool) -> Any:
    """A client of our own.

    Args:
        kind: ``Client`` or ``AsyncClient``.
        secure: whether certificates will have to be verified.
    """
    import httpcore  # only a client that needs it pays for it
    import httpx

    context = httpx.create_ssl_context() if secure else None
    if kind == "Client":
        return _Client(httpcore.ConnectionPool(context, **_POOL))
    return _AsyncClient(httpcore.AsyncConnectionPool(context, **_POOL))


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
        import httpcore

        target, host = _target(url)
        own = [(b"host", host)]
        if content is not None:
            own.append((b"content-length", b"%d" % len(content)))
        timeouts = dict(zip(("connect", "read", "write", "pool"), timeout, strict=True))
        return httpcore.Request(
            method,
            target,
            headers=[*own, *[(name.encode(), value.encode()) for name, value in headers]],
            content=content or b"",
            extensions={"timeout": timeouts, **extensions},
        )


class _Answer:
    """As much of a client's answer as is looked at here."""

    __slots__ = ("aclose", "close", "headers", "status_code", "stream")

    is_stream_consumed: Final = False

    def __init__(self, response: httpcore.Response) -> None:
        self.status_code = response.status
        self.headers = _Headers(response.headers)
        self.stream = response.stream
        self.close = response.close
        self.aclose = response.aclose


class _Headers:
    __slots__ = ("raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw = raw


class _Client(_Bare):
    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def send(self, request: httpcore.Request, **_: object) -> _Answer:
        """As a client's, without a redirect and without credentials; its answer is a stream."""
        return _Answer(self._pool.handle_request(request))

    def close(self) -> None:
        """As a client's."""
        self._pool.close()


class _AsyncClient(_Bare):
    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    async def send(self, request: httpcore.Request, **_: object) -> _Answer:
        """As a client's, without a redirect and without credentials; its answer is a stream."""
        return _Answer(await self._pool.handle_async_request(request))

    async def aclose(self) -> None:
        """As a client's."""
        await self._pool.aclose()
