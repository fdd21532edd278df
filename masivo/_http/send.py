"""The sending of a ``Request`` of the core, in threads and in event loops."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from functools import cache
from operator import index
from typing import TYPE_CHECKING, Any, Final, Self, cast

from masivo.protocol import Failure, Request, Response

from .bare import Timeouts, is_bare
from .connection import Deadline, bounded_handshake, gather
from .failure import failure_of, unusable
from .given import AsyncHttpClient, HttpClient, Transport
from .response import Body, bounded, headers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["AsyncHttp", "Http"]

_LEFT_OVER: Final = 10_000  # more parts than one read from a socket can hold


def _outgoing(client: Any, request: Request, timeouts: Timeouts, **extensions: object) -> Any:
    return client.build_request(
        request.method,
        request.url,
        # Not deflate: servers send it in two forms, one of them wrong (RFC 9110, 8.4.1.2).
        headers=[*request.headers, ("accept-encoding", "gzip")],
        content=request.body or None,
        timeout=timeouts,
        extensions=extensions,
    )


# The caller's client may have its own auth, or follow redirects; neither applies here.
_SEND: Final[dict[str, Any]] = {"stream": True, "auth": None, "follow_redirects": False}


class Http(Transport):
    """Sends requests from threads."""

    KIND = "Client"

    def __init__(self, given: HttpClient | None, base_url: str) -> None:
        super().__init__(given, base_url)
        self._deadline = Deadline()

    def close(self) -> None:
        """Close what this object opened; a client passed by the caller stays open."""
        client = self._disown()
        if client is not None:
            client.close()

    def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception."""
        timeout = request.timeout
        try:
            client = self._get()
        except Exception as error:  # noqa: BLE001 (a caller's function can raise anything)
            return unusable(error)
        self._deadline.at = time.monotonic() + timeout
        status = None
        try:
            outgoing = _outgoing(
                client, request, (timeout, timeout, timeout, timeout), trace=self._trace
            )
            response = client.send(outgoing, **_SEND)
            try:
                status, headers = index(response.status_code), headers_of(response)
                if response.is_stream_consumed:  # by a hook or transport of the caller
                    return Response(status, headers, bounded(response.content))
                body = Body(headers)
                for chunk in response.stream:  # faster than `iter_raw`
                    body.feed(chunk)
                return Response(status, headers, body.finish())
            finally:
                response.close()
        except Exception as error:  # noqa: BLE001 (an escaped exception would hang a batch)
            return failure_of(error, timeout, status)
        finally:
            self._deadline.at = None

    def _trace(self, name: str, info: dict[str, Any]) -> None:
        self._deadline.trace(name, info)
        if is_bare(self._client):
            gather(name, info)


class AsyncHttp(Transport):
    """Sends requests from an event loop.

    Args:
        given: the caller's ``http_client``.
        base_url: the API's address.
        bound: the loop's time limit in seconds: an asynchronous context manager that cancels a
            block that takes longer, and then raises an Exception.
        checkpoint: lets other tasks of the loop run once.
    """

    KIND = "AsyncClient"

    def __init__(
        self,
        given: AsyncHttpClient | None,
        base_url: str,
        bound: Callable[[float], AbstractAsyncContextManager[object]],
        checkpoint: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(given, base_url)
        self._bound = bound
        self._checkpoint = checkpoint

    async def aclose(self) -> None:
        """Close what this object opened; a client passed by the caller stays open."""
        client = self._disown()
        if client is not None:
            await client.aclose()

    async def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception."""
        try:
            client = self._get()
        except Exception as error:  # noqa: BLE001 (a caller's function can raise anything)
            return unusable(error)
        status = None
        try:
            async with self._bound(request.timeout):
                bare = is_bare(client)
                if not bare:  # a caller's client may never yield, nor would its requests
                    await self._checkpoint()
                trace = bounded_handshake(request.timeout, gather=bare)
                # For connecting and the pool, not for reading and writing: `bound` covers those,
                # and the library's limit for each of them costs time.
                timeouts = (request.timeout, None, None, request.timeout)
                outgoing = _outgoing(client, request, timeouts, trace=trace)
                outgoing.stream = _body_of(outgoing, request.body)
                response = await client.send(outgoing, **_SEND)
                chunks = None
                try:
                    status, headers = index(response.status_code), headers_of(response)
                    if response.is_stream_consumed:
                        return Response(status, headers, bounded(response.content))
                    body = Body(headers)
                    chunks = aiter(response.stream)  # faster than `aiter_raw`
                    async for chunk in chunks:
                        body.feed(chunk)
                    return Response(status, headers, body.finish())
                finally:
                    try:
                        await response.aclose()
                    finally:
                        await _run_out(chunks)
        except Exception as error:  # noqa: BLE001 (an escaped exception would hang a batch)
            return failure_of(error, request.timeout, status)


class _Once:
    """An iterator of one chunk, or none. Not a generator: a cancellation in the middle of a request
    would leave it to the garbage collector, and trio warns of that."""

    def __init__(self, chunk: bytes) -> None:
        self._chunks = [chunk] if chunk else []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._chunks:
            raise StopAsyncIteration
        return self._chunks.pop()


def _body_of(outgoing: Any, body: bytes) -> Any:
    """Return a request's body as a stream of its library's class (of any class for httpcore)."""
    library = sys.modules[type(outgoing).__module__.partition(".")[0]]
    stream = _stream_of(getattr(library, "AsyncByteStream", object))()
    stream.body = body
    return stream


@cache
def _stream_of(kind: type) -> Any:
    return type("Stream", (kind,), {"__aiter__": _chunks})


def _chunks(stream: Any) -> _Once:
    return _Once(stream.body)


async def _run_out(chunks: AsyncIterator[bytes] | None) -> None:
    """Run an interrupted body to its end after its connection has been closed.

    The library nests asynchronous generators. Closing the outermost leaves the others to the
    garbage collector, and trio warns of that. Resumed on a closed connection, all end with its
    error.
    """
    with suppress(Exception):
        for _ in range(_LEFT_OVER if chunks is not None else 0):
            await anext(cast("AsyncIterator[bytes]", chunks))
