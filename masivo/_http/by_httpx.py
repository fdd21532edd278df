"""Requests by ``httpx``, or ``httpx2``: through a proxy, or by the caller's own client.

Only documented names are used. So in threads a step of a request (connecting, a read, a write) may
continue after ``timeout``; the session then gives the request up (``given_up``).
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, Final

from masivo.protocol import MAX_BODY, Response

from .building import build_lock
from .connections import now
from .exchange import body_of, joined
from .failures import BrokenResponseError, failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from masivo.protocol import Failure, Request

    from .transport import World

__all__ = ["HttpxTransport"]

# The caller's client may have its own auth or follow redirects: both are turned off here.
_AS_IT_IS: Final[dict[str, Any]] = {"stream": True, "auth": None, "follow_redirects": False}


class HttpxTransport:
    """Sends requests by a client of ``httpx``, which is made when it is first needed.

    Args:
        make: returns the client, or raises MasivoConfigError if there is no usable one.
        world: see World.
        owned: True if the client must be closed here.
        is_async: True if it is for an event loop.
    """

    def __init__(
        self, make: Callable[[], Any], world: World, *, owned: bool, is_async: bool
    ) -> None:
        self._make = make
        self._world = world
        self._owned = owned
        self._is_async = is_async
        self._client: Any = None
        self._statuses: dict[int, int] = {}  # of responses whose headers have arrived

    async def send(self, request: Request) -> Response | Failure:
        """See Transport."""
        timeout = _Left(request.timeout)
        try:
            with build_lock:
                client = self._client = self._client or self._make()
            async with self._world.bound(request.timeout):
                await self._world.wait((), 0.0)  # the caller's transport may never suspend
                outgoing = client.build_request(
                    request.method,
                    request.url,
                    headers=[*request.headers, ("accept-encoding", "gzip")],
                    content=request.body or None,
                    extensions={"timeout": timeout},
                )
                sent = client.send(outgoing, **_AS_IT_IS)
                response = await sent if self._is_async else sent
                try:
                    return await self._read(response, request.id, timeout)
                finally:
                    await self._close(response)
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            return self._failure(error, request)
        finally:
            self._statuses.pop(request.id, None)

    async def _read(self, response: Any, request_id: int, timeout: _Left) -> Response:
        self._statuses[request_id] = status = index(response.status_code)
        headers = joined(response.headers.raw)
        if response.is_stream_consumed:  # by a hook or a transport of the caller's
            return Response(status, headers, body_of({}, response.content))
        raw = bytearray()
        async for chunk in response.aiter_raw() if self._is_async else _each(response.iter_raw()):
            raw += chunk
            timeout.check()
            if len(raw) > MAX_BODY:
                raise BrokenResponseError(f"it is longer than {MAX_BODY} bytes")
        return Response(status, headers, body_of(headers, raw))

    def given_up(self, request: Request) -> Failure:
        """See Transport: it is stuck in a blocking step."""
        return self._failure(TimeoutError(), request)

    def _failure(self, error: Exception, request: Request) -> Failure:
        return failure_of(error, "no response", request.timeout, self._statuses.get(request.id))

    async def aclose(self) -> None:
        """Close what this object opened; the caller's own client is left alone."""
        client, self._client = self._client, None
        if client is not None and self._owned:
            await self._close(client)

    async def _close(self, opened: Any) -> None:
        if self._is_async:
            await opened.aclose()
        else:
            opened.close()


async def _each(chunks: Iterable[bytes]) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk


class _Left(dict[str, float]):
    """A request's extension ``timeout``, by which its library bounds each step: the time left."""

    def __init__(self, timeout: float) -> None:
        super().__init__(dict.fromkeys(("connect", "read", "write", "pool"), timeout))
        self._until = now() + timeout

    def get(self, key: str, default: object = None, /) -> float:
        return max(0.001, self._until - now())  # 0 would mean not to wait

    def check(self) -> None:
        if now() >= self._until:
            raise TimeoutError
