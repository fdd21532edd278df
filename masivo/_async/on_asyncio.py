"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING, Self, cast

from masivo._client import ClientBase
from masivo._http.on_asyncio import asyncio_sender
from masivo.protocol import Failure

from .asyncio_loops import registry_of
from .client import AsyncDelivery, LoopClient
from .session import GRACE, AsyncSender, Key, LoopSession, Member, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from masivo.protocol import Buffer, Delivery, Request, Ticket

__all__ = ["AsyncClient"]


class AsyncioSession(LoopSession):
    """One key's engine in one asyncio loop, driven by one task."""

    task: asyncio.Task[None] | None = None

    def __init__(self, key: Key, registry: Registry, sender: AsyncSender) -> None:
        self.loop = asyncio.get_running_loop()
        # Every event is given a time: the function itself, unless the loop has a clock of its own.
        usual = getattr(self.loop.time, "__func__", None) is asyncio.BaseEventLoop.time
        super().__init__(key, registry, sender, time.monotonic if usual else self.loop.time)
        self._bell = asyncio.Event()
        self._requests: dict[asyncio.Task[None], Request] = {}

    def start(self) -> None:
        """Start the driving task, once a client is attached (the task may run at once)."""
        if self.task is None:
            self.task = self.loop.create_task(self._run(), name="masivo")

    async def _run(self) -> None:
        # `asyncio.run` cancels all tasks in the end, this one at whatever it is doing, and then
        # waits: there is time for the rest.
        try:
            with suppress(asyncio.CancelledError):
                await self.drive()
        finally:
            self.abort("the event loop was closed")
        for task in self._requests:
            if not task.cancelling():  # a second time would break off its cleaning up
                task.cancel()
        with suppress(asyncio.CancelledError):
            if self._requests:
                await asyncio.wait(self._requests)
        await self.sender.aclose()

    def abort(self, why: str) -> None:
        """See LoopSession."""
        super().abort(why)
        if self.loop.is_closed():
            # What they were for is done: nobody needs to be warned that they did not end or begin.
            for task in (self.task, *self._requests):
                if task is None or task.done():
                    continue
                setattr(task, "_log_destroy_pending", False)  # noqa: B010 (not in its stubs)
                coroutine = cast("Coroutine[Any, Any, None]", task.get_coro())
                if getcoroutinestate(coroutine) == CORO_CREATED:
                    coroutine.close()

    def here(self) -> bool:
        """Whether this is a place where the session may be worked on."""
        running = asyncio._get_running_loop()  # noqa: SLF001 (does not raise)
        return running is self.loop or not self.loop.is_running()

    def check_loop(self) -> None:
        """See LoopSession."""
        running = asyncio._get_running_loop()  # noqa: SLF001 (does not raise)
        if running is not self.loop:
            raise RuntimeError(
                "this AsyncClient belongs to the event loop of its first use, and "
                + ("no event loop is running here" if running is None else "this is another one")
                + "; make one client for each loop, or use masivo.Client from threads"
            )

    def _call_soon(self, function: Callable[[], object]) -> None:
        self.loop.call_soon_threadsafe(function)

    def _ring(self) -> None:
        self._bell.set()

    async def _sleep(self, until: float | None) -> None:
        if self._bell.is_set():
            await asyncio.sleep(0)
        timer = None if until is None else self.loop.call_at(until, self._bell.set)
        try:
            await self._bell.wait()
        finally:
            self._bell.clear()
            if timer is not None:
                timer.cancel()

    def _start(self, request: Request) -> None:
        if not self.loop.is_closed():
            task = self.loop.create_task(self.carry_out(request), name="masivo-request")
            self._requests[task] = request
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        request = self._requests.pop(task)
        if task.cancelled():
            self.engine.hand_back(request.id, Failure("the request was interrupted", sent=True))
            self.wake()
        elif (error := task.exception()) is not None:  # nobody knows what it left undone
            self.abort(f"a request was broken off by {type(error).__name__}")
            self.wake()

    async def _wait_for(self, awaited: Delivery | Ticket, timeout: float | None) -> None:
        if awaited.outcome is None:
            future: asyncio.Future[None] = self.loop.create_future()
            with self.waiters.waiting(awaited, partial(_resolve, future)):
                if timeout is None:
                    await future
                else:
                    await asyncio.wait([future], timeout=timeout)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done() and not future.get_loop().is_closed():
        future.set_result(None)


class AsyncClient(LoopClient):
    __doc__ = """Sends events from asyncio.

    May be made before the loop runs; it belongs to the loop of its first use. Clients of the same
    ``api_key`` in a loop share one token and one task.
    """ + (ClientBase.__doc__ or "").partition("\n")[2]

    def _join(self) -> Buffer:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "an AsyncClient is used inside asyncio's running event loop; in trio use "
                "masivo.TrioClient, without a loop masivo.Client"
            ) from None
        registry = registry_of(loop)
        key = self._settings.account, id(self._http_client)
        session = registry.get(key)
        if not isinstance(session, AsyncioSession):
            sender = asyncio_sender(self._source, self._settings.account.base_url)
            session = AsyncioSession(key, registry, sender)
        buffer = session.engine.attach(self._settings, AsyncDelivery, Member(session))
        session.start()
        return buffer

    async def _released(self, session: LoopSession) -> None:
        task = session.task if isinstance(session, AsyncioSession) else None
        if task is None or session.engine.attached or task.done():
            return
        deadline = task.get_loop().time() + GRACE
        cancelled: asyncio.CancelledError | None = None
        while not task.done() and (left := deadline - task.get_loop().time()) > 0:
            try:
                await asyncio.wait([task], timeout=left)
            except asyncio.CancelledError as error:  # once more: the grace is shielded
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def __aenter__(self) -> Self:
        self._bound()
        return self
