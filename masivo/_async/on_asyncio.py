"""The client for asyncio."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from typing import TYPE_CHECKING, Self

from masivo._client import ClientBase
from masivo._http import AsyncHttp

from .client import AsyncDelivery, LoopClient, session_of
from .session import GRACE, Key, LoopSession, Member, Registry

if TYPE_CHECKING:
    from types import TracebackType

    from masivo.protocol import Buffer, Delivery, Request, Ticket

__all__ = ["AsyncClient"]

_registries: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Registry] = (
    weakref.WeakKeyDictionary()
)


class AsyncioSession(LoopSession):
    """One key's engine in one asyncio loop, driven by one task."""

    def __init__(self, key: Key, registry: Registry, http: AsyncHttp) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(key, registry, http, self.loop.time)
        self._bell = asyncio.Event()
        self._requests: set[asyncio.Task[None]] = set()
        self.task = self.loop.create_task(self._run(), name="masivo")

    async def _run(self) -> None:
        try:
            await self.drive()
        finally:
            # By now no client is attached; or the loop is going away, and this is the last word.
            self.abort("the event loop was closed")
            for task in self._requests:
                task.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        await self.http.aclose()

    def _ring(self) -> None:
        self._bell.set()

    def _ring_from_outside(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._bell.set)

    def _start(self, request: Request) -> None:
        if self.loop.is_closed():
            return
        task = self.loop.create_task(self.carry_out(request), name="masivo-request")
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _sleep(self, until: float | None) -> None:
        timer = None if until is None else self.loop.call_at(until, self._bell.set)
        try:
            await self._bell.wait()
        finally:
            self._bell.clear()
            if timer is not None:
                timer.cancel()

    async def _wait_for(self, awaited: Delivery | Ticket, timeout: float | None) -> None:
        _check_loop(self.loop)
        future: asyncio.Future[None] = self.loop.create_future()
        with self._waiting(awaited, partial(_resolve, future)) as unfinished:
            if unfinished:
                async with asyncio.timeout(timeout):
                    await future


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done() and not future.get_loop().is_closed():
        future.set_result(None)


def _check_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is not loop:
        raise RuntimeError(
            "this AsyncClient belongs to the event loop of its first use, and "
            + ("no event loop is running here" if running is None else "this is another one")
            + "; make one client for each loop, or use masivo.Client from threads"
        )


class AsyncClient(LoopClient):
    __doc__ = """Sends events from asyncio.

    May be made before the loop runs; it belongs to the loop of its first use. Clients of the same
    ``api_key`` in a loop share one token and one task.
    """ + (ClientBase.__doc__ or "").partition("\n")[2]

    _loop: asyncio.AbstractEventLoop | None = None

    def _bound(self) -> Buffer:
        if self._joined is not None and self._loop is not None:
            if asyncio._get_running_loop() is not self._loop:  # noqa: SLF001 (does not raise)
                _check_loop(self._loop)
            return self._joined
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "an AsyncClient is used inside a running event loop; without one use masivo.Client"
            ) from None
        registry = _registries.setdefault(self._loop, {})
        account = self._settings.account
        key = account, id(self._http_client)
        session = registry.get(key)
        if session is None:
            http = AsyncHttp(self._http_client, account.base_url, asyncio.timeout)
            session = AsyncioSession(key, registry, http)
        buffer = session.engine.attach(self._settings, AsyncDelivery, Member(session))
        return self._joins(buffer)

    async def _released(self, session: LoopSession, grace: float | None = None) -> None:
        if isinstance(session, AsyncioSession) and not session.engine.attached:
            await asyncio.wait([session.task], timeout=grace)

    async def __aenter__(self) -> Self:
        self._bound()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                await self.aclose()
            except asyncio.CancelledError:
                self._abandon()
                raise
        else:
            self._abandon()
            await self._released(session_of(self._bound()), GRACE)
