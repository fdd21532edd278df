"""What can be done by hand: the least that a call and a delivery can cost on this machine.

``Append`` and ``WalkAppend`` are what a call is measured against; the loops are what a delivery
is measured against. A loop encodes a batch, sends it, waits for the answer, and that is all: no
check, no outcome, no repeat, no order, no bound.
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from .contender import BATCH, Contender, World

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .events import Event

__all__ = ["ALL"]

T = TypeVar("T")
_PATH = "/behavior/events/bulk"
_HEADERS = {"authorization": "Bearer a-token", "content-type": "application/json"}


class _Limit(Contender):
    kind: ClassVar[Literal["peer", "masivo", "limit"]] = "limit"

    async def finish(self) -> None:
        """See Contender: nothing is left behind by ``deliver``."""

    async def close(self) -> None:
        """See Contender."""


# ── One call ─────────────────────────────────────────────────────────────────────────────────


class Append(_Limit):
    """Encode and append."""

    name = "encode+append"

    async def open(self) -> None:
        """See Contender."""
        import msgspec

        encode = msgspec.json.Encoder().encode
        append = list[bytes]().append

        def send(event: Event) -> None:
            append(encode(event))

        self.send = send


def _walk(value: object) -> None:
    """Refuse what JSON cannot carry, as one would write it."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return
    if kind is float:
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError("not a number")
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str:
                raise TypeError("keys must be str")
            _walk(item)
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            _walk(item)
    else:
        raise TypeError(f"{kind.__name__} has no form in JSON")


class WalkAppend(_Limit):
    """Walk the event for what JSON cannot carry, encode and append."""

    name = "walk+encode+append"

    async def open(self) -> None:
        """See Contender."""
        import msgspec

        encode = msgspec.json.Encoder().encode
        append = list[bytes]().append

        def send(event: Event) -> None:
            _walk(event)
            append(encode(event))

        self.send = send


# ── Deliveries ───────────────────────────────────────────────────────────────────────────────


class _Loop(_Limit):
    """Sends batches; a subclass says how one body is posted."""

    async def open(self) -> None:
        """See Contender."""
        import msgspec

        self._encode = msgspec.json.Encoder().encode
        self._url = self.options.sink.url + _PATH

    def _bodies(self, events: Sequence[Event]) -> list[Callable[[], bytes]]:
        """One function for each batch, that encodes it."""
        return [self._body(events[start : start + BATCH]) for start in range(0, len(events), BATCH)]

    def _body(self, batch: Sequence[Event]) -> Callable[[], bytes]:
        encode = self._encode
        return lambda: b'{"events":[' + b",".join([encode(event) for event in batch]) + b"]}"


class _Blocking(_Loop):
    """A loop of one thread, or of several with one connection each."""

    def _post(self, body: bytes) -> None:
        raise NotImplementedError

    def _encode_and_post(self, body: Callable[[], bytes]) -> None:
        self._post(body())

    async def deliver(self, events: Sequence[Event]) -> None:
        """See Contender."""
        bodies = self._bodies(events)
        if self.options.in_flight == 1:
            for body in bodies:
                self._post(body())
        else:
            with ThreadPoolExecutor(self.options.in_flight) as pool:
                list(pool.map(self._encode_and_post, bodies))


class HttpxLoop(_Blocking):
    """A loop over httpx.Client, the library that masivo uses."""

    name = "httpx loop"
    _library = "httpx"

    async def open(self) -> None:
        """See Contender."""
        from importlib import import_module

        await super().open()
        self._client: Any = import_module(self._library).Client(trust_env=False)

    def _post(self, body: bytes) -> None:
        self._client.post(self._url, content=body, headers=_HEADERS).raise_for_status()

    async def close(self) -> None:
        """See Contender."""
        self._client.close()


class Httpx2Loop(HttpxLoop):
    """The same over httpx2."""

    name = "httpx2 loop"
    _library = "httpx2"


class H11Loop(_Blocking):
    """A loop over h11 on a socket: the protocol is checked, and nothing else is done."""

    name = "h11 loop"

    async def open(self) -> None:
        """See Contender."""
        import h11

        await super().open()
        self._h11 = h11
        host, _, port = self.options.sink.url.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection: Any = h11.Connection(h11.CLIENT)

    def _post(self, body: bytes) -> None:
        h11, connection = self._h11, self._connection
        headers = [*_HEADERS.items(), ("host", "sink"), ("content-length", str(len(body)))]
        request = h11.Request(method="POST", target=_PATH, headers=headers)
        parts = connection.send(request), connection.send(h11.Data(body))
        self._socket.sendall(b"".join((*parts, connection.send(h11.EndOfMessage()))))
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(self._socket.recv(65536))
            elif isinstance(event, h11.EndOfMessage):
                connection.start_next_cycle()
                return

    async def close(self) -> None:
        """See Contender."""
        self._socket.close()


class SocketLoop(_Blocking):
    """A loop over a bare socket: the answer is read as far as its first bytes."""

    name = "socket loop"

    async def open(self) -> None:
        """See Contender."""
        await super().open()
        host, _, port = self.options.sink.url.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _post(self, body: bytes) -> None:
        self._socket.sendall(
            b"POST %s HTTP/1.1\r\nhost: sink\r\ncontent-length: %d\r\n\r\n%s"
            % (_PATH.encode(), len(body), body)
        )
        if not self._socket.recv(65536).startswith(b"HTTP/1.1 200"):
            raise ConnectionError("the sink did not take it")

    async def close(self) -> None:
        """See Contender."""
        self._socket.close()


class AsyncioLoop(_Loop):
    """A loop over httpx.AsyncClient in asyncio."""

    name = "httpx loop, asyncio"
    world: ClassVar[World] = "asyncio"

    async def open(self) -> None:
        """See Contender."""
        import httpx

        await super().open()
        self._client = httpx.AsyncClient(trust_env=False)

    async def deliver(self, events: Sequence[Event]) -> None:
        """See Contender."""
        for body in self._bodies(events):
            answer = await self._client.post(self._url, content=body(), headers=_HEADERS)
            answer.raise_for_status()

    async def sleep(self, seconds: float) -> None:
        """See Contender."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """See Contender."""
        await self._client.aclose()

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """See Contender."""
        return asyncio.run(main())


class TrioLoop(AsyncioLoop):
    """The same in trio."""

    name = "httpx loop, trio"
    world: ClassVar[World] = "trio"

    async def sleep(self, seconds: float) -> None:
        """See Contender."""
        import trio

        await trio.sleep(seconds)

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """See Contender."""
        import trio

        return trio.run(main)


# ── The same, if each event is stored first ──────────────────────────────────────────────────


class _Storing(_Loop):
    """A loop that walks each event, and writes it to a file before its batch is sent: the least
    that a spool can do. It notes no batch, removes nothing, and reads nothing back."""

    async def open(self) -> None:
        """See Contender."""
        await super().open()
        self._file = TemporaryFile(buffering=0)  # noqa: SIM115 (the process ends with it)

    def _body(self, batch: Sequence[Event]) -> Callable[[], bytes]:
        encode, fd = self._encode, self._file.fileno()

        def body() -> bytes:
            stored: list[bytes] = []
            for event in batch:
                _walk(event)
                encoded = encode(event)
                os.write(fd, encoded + b"\n")
                stored.append(encoded)
            return b'{"events":[' + b",".join(stored) + b"]}"

        return body


class StoringLoop(_Storing, HttpxLoop):
    """Over httpx.Client."""

    name = "storing loop"


class StoringAsyncioLoop(_Storing, AsyncioLoop):
    """Over httpx.AsyncClient in asyncio."""

    name = "storing loop, asyncio"


class StoringTrioLoop(_Storing, TrioLoop):
    """The same in trio."""

    name = "storing loop, trio"


ALL: tuple[type[Contender], ...] = (
    Append,
    WalkAppend,
    HttpxLoop,
    Httpx2Loop,
    H11Loop,
    SocketLoop,
    AsyncioLoop,
    TrioLoop,
    StoringLoop,
    StoringAsyncioLoop,
    StoringTrioLoop,
)
