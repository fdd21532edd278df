"""``httpx`` without its client: a transport, behind as much of a client's face as ``_http`` uses.

A client merges headers and addresses, keeps cookies, looks for credentials and follows redirects.
Nothing of that is wanted here, and it was a third of the CPU time of a request (600 µs of the
process's, 400 without it).
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

__all__ = ["Timeouts", "bare_client"]

Timeouts: TypeAlias = tuple[float | None, float | None, float | None, float | None]
"""Seconds to connect, to read, to write and to wait for a connection; None for no limit."""


def bare_client(kind: str, **settings: Any) -> Any:
    """A client of our own.

    Args:
        kind: ``Client`` or ``AsyncClient``.
        settings: those of httpx's transport.
    """
    import httpx  # only a client that needs it pays for it

    if kind == "Client":
        return _Client(httpx.HTTPTransport(**settings))
    return _AsyncClient(httpx.AsyncHTTPTransport(**settings))


class _Bare:
    def __init__(self, transport: Any) -> None:
        import httpx

        self._transport = transport
        self._request = httpx.Request
        self._stream = httpx.ByteStream
        self._url = cache(httpx.URL)  # there are two of them

    def build_request(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | None,
        timeout: Timeouts,
        extensions: dict[str, object],
    ) -> Any:
        """As a client's."""
        timeouts = dict(zip(("connect", "read", "write", "pool"), timeout, strict=True))
        target = self._url(url)
        # With `content` instead of a stream, the library goes over all headers once more to add
        # these two: a tenth of a request.
        own: list[tuple[bytes, bytes]] = [(b"host", target.netloc)]
        if content is not None:
            own.append((b"content-length", b"%d" % len(content)))
        return self._request(
            method,
            target,
            headers=[*own, *[(name.encode(), value.encode()) for name, value in headers]],
            stream=self._stream(content or b""),
            extensions={"timeout": timeouts, **extensions},
        )


class _Client(_Bare):
    def send(self, request: Any, **_: object) -> Any:
        """As a client's, without a redirect and without credentials; its answer is a stream."""
        response = self._transport.handle_request(request)
        response.request = request
        return response

    def close(self) -> None:
        """As a client's."""
        self._transport.close()


class _AsyncClient(_Bare):
    async def send(self, request: Any, **_: object) -> Any:
        """As a client's, without a redirect and without credentials; its answer is a stream."""
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

    async def aclose(self) -> None:
        """As a client's."""
        await self._transport.aclose()
