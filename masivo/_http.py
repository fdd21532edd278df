"""What knows the HTTP library (with ``_bare``): ``httpx``, or ``httpx2`` of the same surface.

It turns a ``Request`` of the core into a call, and everything that the call can raise into a
``Failure``.
"""

from __future__ import annotations

import inspect
import ssl
import sys
import threading
import time
import zlib
from contextlib import suppress
from functools import cache
from importlib import import_module
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias, TypeVar, cast
from urllib.request import getproxies

from masivo import MasivoConfigError
from masivo._bare import Timeouts, bare_client, is_bare
from masivo._protocol.causes import chain
from masivo.protocol import MAX_BODY, Failure, Request, Response, is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    import httpx
    import httpx2

    T = TypeVar("T")
    _Makes: TypeAlias = Callable[[], T]

__all__ = ["MAX_BODY", "AsyncHttp", "AsyncHttpClient", "Http", "HttpClient", "build_lock"]

HttpClient: TypeAlias = "httpx.Client | httpx2.Client | _Makes[httpx.Client | httpx2.Client]"
"""What ``http_client`` may be for threads."""
AsyncHttpClient: TypeAlias = (
    "httpx.AsyncClient | httpx2.AsyncClient | _Makes[httpx.AsyncClient | httpx2.AsyncClient]"
)
"""What ``http_client`` may be for an event loop."""

build_lock = threading.RLock()
"""Held while an HTTP client is built, and across a fork: an import or an SSL context cut in two
by a fork would block the child for ever."""

_FAMILIES: Final = ("httpx", "httpx2")
_NOT_SENT: Final = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")
_OPENING: Final = ("connect_tcp.started", "connect_unix_socket.started")
_CONNECTED: Final = ("connect_tcp.complete", "connect_unix_socket.complete")
_OPENED: Final = (*_CONNECTED, "start_tls.complete")
_PIECE: Final = 65_536
_HANDSHAKE: Final = 0.95  # of a request's time, by whose end the connection must be secure
_AN_INSTANT: Final = 0.001  # seconds; none at all would mean not to wait for sockets
_LEFT_OVER: Final = 10_000  # more parts of a body than one read from a socket can hold


class _BadBodyError(Exception):
    """An answer whose body is too large, or in an encoding that nobody asked for."""


def import_library() -> None:
    """Import all that a request needs, so that no import happens beside a fork later."""
    for name in ("encodings.idna", "httpcore", "httpx"):
        import_module(name)


def check_client(given: object, kind: str) -> None:
    """Refuse an ``http_client`` that cannot be used.

    Args:
        given: the argument.
        kind: ``Client`` or ``AsyncClient``.

    Raises:
        MasivoConfigError: it is neither None, nor an httpx or httpx2 client of this kind, nor a
            function that may make one.
    """
    if given is None or _is_client(given, kind):
        return
    if callable(given) and not inspect.iscoroutinefunction(given):
        return
    raise MasivoConfigError(
        f"http_client must be an httpx.{kind} (or httpx2.{kind}), or a function of no arguments "
        f"that makes one, not {type(given).__module__}.{type(given).__qualname__}"
    )


def _is_client(given: object, kind: str) -> bool:
    modules = (sys.modules.get(name) for name in _FAMILIES)
    return any(
        module is not None and isinstance(given, getattr(module, kind)) for module in modules
    )


class _Transport:
    """One session's way to HTTP: the caller's client, or one that is built at the first need.

    Args:
        given: the caller's ``http_client``.
        base_url: where requests go; for a loopback host the environment's proxies are ignored.
    """

    KIND: ClassVar[str]

    def __init__(self, given: object, base_url: str) -> None:
        self._given = given
        self._base_url = base_url
        self._client: Any = None
        self._owned = not _is_client(given, self.KIND)
        self._unusable: MasivoConfigError | None = None

    def forked(self) -> Self:
        """The like of it for the child of a fork, where the parent's sockets are not ours."""
        transport = type(self)(self._given, self._base_url)
        if not self._owned:
            transport._unusable = MasivoConfigError(  # noqa: SLF001 (its own kind)
                "this process was forked, and the http_client that it inherited holds its "
                "parent's connections: pass a function that makes one, such as "
                f"http_client=lambda: httpx.{self.KIND}(...)"
            )
        return transport

    def _get(self) -> Any:
        if self._client is None:
            with build_lock:
                if self._client is None:
                    self._client = self._build()
        return self._client

    def _build(self) -> Any:
        if self._unusable is not None:
            raise self._unusable
        if self._given is None:
            secure = self._base_url.startswith("https:")
            if is_loopback(self._base_url) or not getproxies():
                return bare_client(self.KIND, secure=secure)
            import httpx  # only a client that needs it pays for it

            limits = httpx.Limits(max_connections=None)
            # It knows the way through a proxy.
            return getattr(httpx, self.KIND)(verify=secure, limits=limits)
        if not self._owned:
            return self._given
        client = cast("Callable[[], object]", self._given)()
        if not _is_client(client, self.KIND):
            raise MasivoConfigError(
                "http_client: the function returned "
                f"{type(client).__module__}.{type(client).__qualname__}, "
                f"not an httpx.{self.KIND} or httpx2.{self.KIND}"
            )
        return client

    def _disown(self) -> Any:
        """The client that this object must close, if any; it is forgotten."""
        client, self._client = self._client, None
        return client if self._owned else None


def _outgoing(client: Any, request: Request, timeouts: Timeouts, **extensions: object) -> Any:
    return client.build_request(
        request.method,
        request.url,
        headers=[*request.headers, ("accept-encoding", "gzip, deflate")],
        content=request.body or None,
        timeout=timeouts,
        extensions=extensions,
    )


# The caller's client may have an auth of its own, or follow redirects: not here.
_SEND: Final[dict[str, Any]] = {"stream": True, "auth": None, "follow_redirects": False}


class Http(_Transport):
    """Sends requests from threads."""

    KIND = "Client"

    def __init__(self, given: HttpClient | None, base_url: str) -> None:
        super().__init__(given, base_url)
        self._deadline = _Deadline()
        self.connecting = 0
        """How many threads are looking up the server's name or connecting to it."""

    def close(self) -> None:
        """Close what this object opened; the caller's own client is left alone."""
        client = self._disown()
        if client is not None:
            client.close()

    def send(self, request: Request, limit: float | None = None) -> Response | Failure:
        """Carry out a request. Never raises an Exception.

        Args:
            request: what the core asked for.
            limit: seconds, if it must be over sooner than the request's own timeout.
        """
        timeout = request.timeout if limit is None else max(0.0, min(request.timeout, limit))
        try:
            client = self._get()
        except Exception as error:  # noqa: BLE001 (a caller's function can raise anything)
            return _unusable(error)
        self._deadline.at = time.monotonic() + timeout
        status = None
        try:
            outgoing = _outgoing(
                client, request, (timeout, timeout, timeout, timeout), trace=self._trace
            )
            response = client.send(outgoing, **_SEND)
            try:
                status, headers = index(response.status_code), _headers(response)
                if response.is_stream_consumed:  # by a hook or a transport of the caller's
                    return Response(status, headers, _bounded(response.content))
                body = Body(headers)
                for chunk in response.stream:  # `iter_raw` is this, and more time
                    body.feed(chunk)
                return Response(status, headers, body.finish())
            finally:
                response.close()
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            return _failure(error, timeout, status)
        finally:
            self._deadline.at = None

    def _trace(self, name: str, info: dict[str, Any]) -> None:
        if name.endswith(("connect_tcp.complete", "connect_tcp.failed")):
            self.connecting -= 1
        self._deadline.trace(name, info)
        if name.endswith(_OPENED) and is_bare(self._client):
            stream = info["return_value"]
            stream.write = _gathered(stream.write)
        if name.endswith("connect_tcp.started"):
            self.connecting += 1


class AsyncHttp(_Transport):
    """Sends requests from an event loop.

    Args:
        given: the caller's ``http_client``.
        base_url: as above.
        bound: the loop's own way to bound a block by seconds: an asynchronous context manager
            that cancels what takes longer and then raises an Exception.
    """

    KIND = "AsyncClient"

    def __init__(
        self,
        given: AsyncHttpClient | None,
        base_url: str,
        bound: Callable[[float], AbstractAsyncContextManager[object]],
    ) -> None:
        super().__init__(given, base_url)
        self._bound = bound

    async def aclose(self) -> None:
        """Close what this object opened; the caller's own client is left alone."""
        client = self._disown()
        if client is not None:
            await client.aclose()

    async def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception."""
        try:
            client = self._get()
        except Exception as error:  # noqa: BLE001 (a caller's function can raise anything)
            return _unusable(error)
        status = None
        try:
            async with self._bound(request.timeout):
                trace = _bounded_handshake(request.timeout, gather=is_bare(client))
                # To connect, for a pool, but not to read nor to write: those are bounded here, and
                # the library's way to bound each of them takes a twentieth of a request.
                timeouts = (request.timeout, None, None, request.timeout)
                outgoing = _outgoing(client, request, timeouts, trace=trace)
                outgoing.stream = _body_of(outgoing, request.body)
                response = await client.send(outgoing, **_SEND)
                chunks = None
                try:
                    status, headers = index(response.status_code), _headers(response)
                    if response.is_stream_consumed:
                        return Response(status, headers, _bounded(response.content))
                    body = Body(headers)
                    chunks = aiter(response.stream)  # `aiter_raw` is this, and more time
                    async for chunk in chunks:
                        body.feed(chunk)
                    return Response(status, headers, body.finish())
                finally:
                    await response.aclose()
                    await _run_out(chunks)
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            return _failure(error, request.timeout, status)


class _Once:
    """Yields one chunk, or none. Not a generator: one that is broken off, by a cancellation in the
    middle of a request, would be left to the garbage collector, of which trio warns."""

    def __init__(self, chunk: bytes) -> None:
        self._chunks = [chunk] if chunk else []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._chunks:
            raise StopAsyncIteration
        return self._chunks.pop()


def _body_of(outgoing: Any, body: bytes) -> Any:
    """A request's body as a stream of its library's kind (of any kind, for httpcore)."""
    library = sys.modules[type(outgoing).__module__.partition(".")[0]]
    stream = _stream_of(getattr(library, "AsyncByteStream", object))()
    stream.body = body
    return stream


@cache
def _stream_of(kind: type) -> Any:
    return type("Stream", (kind,), {"__aiter__": _chunks})


def _chunks(stream: Any) -> _Once:
    return _Once(stream.body)


def _bounded_handshake(
    timeout: float, *, gather: bool
) -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    """A ``trace`` that ends a TLS handshake a little before the whole request is cancelled.

    By its own timeout the library closes the connection of a handshake, and says that nothing was
    sent. Cancelled (by a busy loop, where both are due at once; by a client's end), it forgets to.
    """
    until = time.monotonic() + timeout * _HANDSHAKE
    connection: Any = None

    async def trace(name: str, info: dict[str, Any]) -> None:
        nonlocal connection
        if gather and name.endswith(_OPENED):
            stream = info["return_value"]
            stream.write = _gathered_async(stream.write)
        if name.endswith(_CONNECTED):
            connection = info["return_value"]
        elif name.endswith("start_tls.started"):
            info["timeout"] = max(0.0, until - time.monotonic())
        elif name.endswith("start_tls.failed") and connection is not None:
            await connection.aclose()
        else:
            _end_trace(name, info)

    return trace


async def _run_out(chunks: AsyncIterator[bytes] | None) -> None:
    """Let a body that was broken off end, after its connection was closed.

    The library nests asynchronous generators, and closing the outermost leaves the others to the
    garbage collector, of which trio warns. Resumed on a closed connection, all end by its error.
    """
    with suppress(Exception):
        for _ in range(_LEFT_OVER if chunks is not None else 0):
            await anext(cast("AsyncIterator[bytes]", chunks))


class _Deadline(threading.local):
    """Bounds a whole request.

    The library's own timeouts begin anew with every byte that arrives. Its ``trace`` extension
    tells of each connection before it is opened, and is given the arguments; and of each that is
    open. The stream's read and write are then given what is left of the current request's time
    (connections outlive requests, and stay on their thread while a request lasts).
    """

    at: float | None = None

    def trace(self, name: str, info: dict[str, Any]) -> None:
        if name.endswith("start_tls.started") and self.at is not None:
            # An error of ours in this place would leave the connection open.
            info["timeout"] = max(_AN_INSTANT, self.at - time.monotonic())
        elif name.endswith(_OPENING):
            info["timeout"] = self._left(info["timeout"])
        elif name.endswith(_OPENED):
            stream = info["return_value"]
            stream.read = self._bounded_read(stream.read)
            stream.write = self._bounded_write(stream.write)
        else:
            _end_trace(name, info)

    def _left(self, timeout: float | None) -> float | None:
        if self.at is None:
            return timeout
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left if timeout is None else min(timeout, left)

    def _bounded_read(self, read: Callable[..., bytes]) -> Callable[..., bytes]:
        def bounded(size: int, timeout: float | None = None) -> bytes:
            return read(size, self._left(timeout))

        return bounded

    def _bounded_write(self, write: Callable[..., None]) -> Callable[..., None]:
        def bounded(data: bytes, timeout: float | None = None) -> None:
            # In pieces: the library's time begins anew with every part that the kernel takes.
            for start in range(0, len(data), _PIECE):
                write(data[start : start + _PIECE], self._left(timeout))

        return bounded


class _Head:
    """Holds a request's head back until its body is there.

    Together they are one packet instead of two, and a twentieth of a request cheaper. That a
    request is complete the pool says with an empty write; another connection than its own, in
    HTTP/2 say, might not.
    """

    def __init__(self) -> None:
        self._held = b""
        self._next_is_head = True

    def take(self, data: bytes) -> bytes:
        """What to write where the pool would write ``data``."""
        if self._next_is_head and data:
            self._held, self._next_is_head = data, False
            return b""
        held, self._held = self._held, b""
        self._next_is_head = not data
        return held + data


def _gathered(write: Callable[..., None]) -> Callable[..., None]:
    head = _Head()

    def gathered(data: bytes, timeout: float | None = None) -> None:
        if data := head.take(data):
            write(data, timeout)

    return gathered


def _gathered_async(write: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    head = _Head()

    async def gathered(data: bytes, timeout: float | None = None) -> None:
        if data := head.take(data):
            await write(data, timeout)

    return gathered


def _headers(response: Any) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _end_trace(name: str, info: dict[str, Any]) -> None:
    """Trace no further once a request is on its way: no connection will be opened for it.

    The library traces ten steps of a request, a fifteenth of its time. The request to a proxy
    shares its extensions with ours, which needs them for what follows.
    """
    if name.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
        info["request"].extensions.pop("trace", None)


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BODY:
        raise _BadBodyError(f"its body is larger than {MAX_BODY} bytes")
    return body


class Body:
    """Collects a body of at most MAX_BODY bytes, decoded with bounded memory.

    The library's own decoders turn a small chunk into as much as it can hold, so a kilobyte could
    fill the memory; zlib is asked for no more than is still allowed.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise _BadBodyError("its content-encoding is not one that was asked for")
        # 32 + 15: a gzip or a zlib header, whichever is there.
        self._inflate = zlib.decompressobj(47) if encoding not in ("", "identity") else None
        self._parts: list[bytes] = []
        self._raw = 0
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Take in bytes from the wire."""
        # Counted as they come, too: what follows the end of a compressed body decodes to nothing.
        self._raw += len(chunk)
        if self._inflate is not None and self._raw <= MAX_BODY:
            chunk = self._inflate.decompress(chunk, MAX_BODY + 1 - self._size)
        self._size += len(chunk)
        if max(self._raw, self._size) > MAX_BODY:
            raise _BadBodyError(f"its body is larger than {MAX_BODY} bytes")
        self._parts.append(chunk)

    def finish(self) -> bytes:
        """The whole body."""
        if self._inflate is not None and self._raw and not self._inflate.eof:
            raise _BadBodyError("its compressed body is cut off")
        return b"".join(self._parts)


def _unusable(error: Exception) -> Failure:
    if not isinstance(error, MasivoConfigError):
        error = MasivoConfigError(
            f"http_client: the function that should make one raised {type(error).__name__}: {error}"
        )
    return Failure(error.message, sent=False, fatal=error)


def _failure(error: Exception, timeout: float, status: int | None) -> Failure:
    names = {kind.__name__ for kind in type(error).__mro__}
    said = _said(error)
    detail = f": {said}" if said else ""
    if isinstance(error, _BadBodyError | zlib.error):
        reason = f"the answer cannot be used{detail}"
    elif isinstance(error, TimeoutError) or names & {"TimeoutException", "TooSlowError"}:
        where = "no connection" if names & {"ConnectTimeout", "PoolTimeout"} else "no answer"
        where = "no complete answer" if status is not None else where
        reason = f"{where} within {timeout:g} s (timeout); check the network and base_url"
    elif _is_tls(error):
        reason = (
            f"no secure connection{detail}. If the server's certificate is signed by a CA of your "
            "own, pass http_client=httpx.Client(verify=<an ssl.SSLContext that knows it>)"
        )
    elif "ConnectError" in names:
        reason = f"no connection{detail}; check the network and base_url"
    elif "ProxyError" in names:
        reason = f"the proxy refused{detail}; check HTTPS_PROXY or http_client"
    elif "RemoteProtocolError" in names or status is not None:
        reason = f"the answer was broken{detail}"
    else:
        reason = f"the request failed: {type(error).__name__}{detail}"
    return Failure(
        reason,
        sent=status is not None or not names & {*_NOT_SENT},
        status=status,
        cause=error,
    )


def _is_tls(error: BaseException) -> bool:
    return any(isinstance(each, ssl.SSLError) for each in chain(error))


def _said(error: BaseException) -> str:
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001 (exceptions of a caller's transport can be anything)
        return ""
