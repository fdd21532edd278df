"""Requests by ``httpx``, or ``httpx2``: through a proxy, or by the caller's own client.

Only documented names are used. So in threads a step of a request (connecting, a read, a write) may
continue after ``timeout``; the session then gives the request up (``given_up``).
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, Final

from masivo import MasivoConfigError
from masivo.protocol import Failure, Response

from .body import Body
from .building import build_lock
from .connections import now
from .sources import said_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from masivo.protocol import Request

    from .sources import Source

__all__ = ["AsyncHttpxSender", "HttpxSender"]

_AN_INSTANT: Final = 0.001  # seconds; none at all would mean not to wait
_NOT_SENT: Final = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"}


class _Sender:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._client: Any = None

    def _get(self) -> Any:
        """The client, which is made when it is first needed."""
        client = self._client  # read once: a close may remove it meanwhile
        if client is None:
            with build_lock:
                client = self._client
                if client is None:
                    client = self._client = self._source.make()
        return client

    def _disown(self) -> Any:
        """Remove and return the client, if this object must close it."""
        client, self._client = self._client, None
        return client if self._source.owned else None


class HttpxSender(_Sender):
    """Sends requests from threads.

    Args:
        source: where the HTTP client comes from.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._statuses: dict[int, int] = {}  # of responses whose headers have arrived

    def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception; for several threads at once."""
        status = None
        timeout = _Left(request.timeout)
        try:
            client = self._get()
            response = client.send(_outgoing(client, request, timeout), **_AS_IT_IS)
            try:
                status, headers = index(response.status_code), _headers_of(response)
                self._statuses[request.id] = status
                is_read = response.is_stream_consumed  # by a hook or a transport of the caller's
                body = Body({} if is_read else headers)
                for chunk in [response.content] if is_read else response.iter_raw():
                    body.feed(chunk)
                    timeout.check()
                return Response(status, headers, body.finish())
            finally:
                response.close()
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            return _failure_of(error, request.timeout, status)
        finally:
            self._statuses.pop(request.id, None)

    def given_up(self, request: Request) -> Failure:
        """Return the failure of a request that is given up: it is stuck in a blocking step."""
        return _failure_of(TimeoutError(), request.timeout, self._statuses.get(request.id))

    def close(self) -> None:
        """Close what this object opened; the caller's own client is left alone."""
        if (client := self._disown()) is not None:
            client.close()


class AsyncHttpxSender(_Sender):
    """Sends requests from an event loop.

    Args:
        source: where the HTTP client comes from.
        bound: makes an asynchronous context manager of the loop that cancels its block after this
            many seconds and then raises an Exception.
        checkpoint: lets other tasks of the loop run once.
    """

    def __init__(
        self,
        source: Source,
        bound: Callable[[float], AbstractAsyncContextManager[object]],
        checkpoint: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(source)
        self._bound = bound
        self._checkpoint = checkpoint

    async def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception; several may be out at once."""
        status = None
        try:
            client = self._get()
            async with self._bound(request.timeout):
                await self._checkpoint()  # a transport of the caller's may never suspend
                outgoing = _outgoing(client, request, _Left(request.timeout))
                response = await client.send(outgoing, **_AS_IT_IS)
                try:
                    status, headers = index(response.status_code), _headers_of(response)
                    is_read = response.is_stream_consumed
                    body = Body({} if is_read else headers)
                    if is_read:
                        body.feed(response.content)
                    else:
                        async for chunk in response.aiter_raw():
                            body.feed(chunk)
                    return Response(status, headers, body.finish())
                finally:
                    await response.aclose()
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            return _failure_of(error, request.timeout, status)

    async def aclose(self) -> None:
        """Close what this object opened; the caller's own client is left alone."""
        if (client := self._disown()) is not None:
            await client.aclose()


class _Left(dict[str, float]):
    """A request's extension ``timeout``, by which its library bounds each step: the time left."""

    def __init__(self, timeout: float) -> None:
        super().__init__(dict.fromkeys(("connect", "read", "write", "pool"), timeout))
        self._until = now() + timeout

    def get(self, key: str, default: object = None, /) -> float:
        return max(_AN_INSTANT, self._until - now())

    def check(self) -> None:
        if now() >= self._until:
            raise TimeoutError


# The caller's client may have its own auth or follow redirects: both are turned off here.
_AS_IT_IS: Final[dict[str, Any]] = {"stream": True, "auth": None, "follow_redirects": False}


def _outgoing(client: Any, request: Request, timeout: _Left) -> Any:
    return client.build_request(
        request.method,
        request.url,
        headers=[*request.headers, ("accept-encoding", "gzip")],
        content=request.body or None,
        extensions={"timeout": timeout},
    )


def _headers_of(response: Any) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _failure_of(error: Exception, timeout: float, status: int | None) -> Failure:
    if isinstance(error, MasivoConfigError):
        return Failure(error.message, sent=False, fatal=error)
    # By name: there are two families of them.
    names = {kind.__name__ for kind in type(error).__mro__}
    detail = next((f": {said}" for each in _chain(error) if (said := said_by(each))), "")
    if isinstance(error, TimeoutError) or names & {"TimeoutException", "TooSlowError"}:
        lack = "no connection" if names & _NOT_SENT else "no response"
        lack = lack if status is None else "no complete response"
        reason = f"{lack} within {timeout:g} s (timeout); check the network and base_url"
    elif "ProxyError" in names:
        reason = f"the proxy refused{detail}; check HTTPS_PROXY or http_client"
    elif "ConnectError" in names:
        reason = f"no connection{detail}; check the network and base_url"
    elif "RemoteProtocolError" in names or status is not None:
        reason = f"the response was broken{detail}"
    else:
        reason = f"the request failed: {type(error).__name__}{detail}"
    sent = status is not None or not names & _NOT_SENT
    return Failure(reason, sent=sent, status=status, cause=error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes, which may form a cycle: under trio only the causes have a
    text."""
    seen: list[BaseException] = []
    while error is not None and not any(error is each for each in seen):
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__
