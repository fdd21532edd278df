"""The client for asyncio."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING, Final, Self, cast

from masivo._client import documented
from masivo._http.on_asyncio import Asyncio
from masivo._session import Key, registry
from masivo.protocol import Failure

from .client import LoopClient
from .session import CLOSED_WITHIN, LOOP_CLOSED, LoopSession

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from masivo._http.openers import Opener
    from masivo.protocol import Buffer, Request

__all__ = ["AsyncClient"]

_CENTURY: Final = 100 * 365 * 86_400.0

_watched: Final[weakref.WeakSet[asyncio.AbstractEventLoop]] = weakref.WeakSet()
"""The loops that have a ``_LastWord``."""


_running_loop: Final = asyncio._get_running_loop  # noqa: SLF001 (it does not raise)


class AsyncioSession(LoopSession):
    """One key's engine in one asyncio loop, driven by one task."""

    _event = asyncio.Event
    task: asyncio.Task[None] | None = None

    def __init__(self, key: Key, opener: Opener) -> None:
        super().__init__(key, opener, Asyncio())
        self.loop = asyncio.get_running_loop()
        self._call_soon = self.loop.call_soon_threadsafe
        if self.loop not in _watched:
            _watched.add(self.loop)
            self.loop.call_later(_CENTURY, _LastWord())
        self._requests: dict[asyncio.Task[None], Request] = {}

    def joined(self, buffer: Buffer) -> None:
        """See LoopSession. The first client starts the driving task, which may run at once."""
        if self.task is None:
            self.task = self.loop.create_task(self._run(), name="masivo")

    async def _run(self) -> None:
        # `asyncio.run` cancels all tasks at its end and then waits for them: there is time for the
        # rest.
        try:
            with suppress(asyncio.CancelledError):
                await self.drive()
        finally:
            self.abort(LOOP_CLOSED)
        for task in self._requests:
            if not task.cancelling():  # a second cancel would interrupt its clean-up
                task.cancel()
        with suppress(asyncio.CancelledError):
            if self._requests:
                await asyncio.wait(self._requests)
        await self.sender.aclose()

    def abort(self, why: str) -> None:
        """See LoopSession."""
        super().abort(why)
        if self.loop.is_closed():
            # Their events have ended: asyncio need not warn that they never ended or began.
            for task in (self.task, *self._requests):
                if task is None or task.done():
                    continue
                setattr(task, "_log_destroy_pending", False)  # noqa: B010 (not in its stubs)
                coroutine = cast("Coroutine[Any, Any, None]", task.get_coro())
                if getcoroutinestate(coroutine) == CORO_CREATED:
                    coroutine.close()

    async def aclose(self) -> None:
        """See LoopSession."""
        if self.task is not None and not self.engine.attached and not self.task.done():
            await asyncio.wait([self.task], timeout=CLOSED_WITHIN)

    def here(self) -> bool:
        """See LoopSession."""
        running = _running_loop()
        return running is self.loop or not self.loop.is_running()

    def check_loop(self) -> None:
        """See LoopSession."""
        running = _running_loop()
        if running is not self.loop:
            raise RuntimeError(
                "this AsyncClient belongs to the event loop of its first use, and "
                + ("no event loop is running here" if running is None else "this is another one")
                + "; make one client for each loop, or use masivo.Client from threads"
            )

    def _start(self, request: Request) -> None:
        if not self.loop.is_closed():
            task = self.loop.create_task(self._send(request), name="masivo-request")
            self._requests.setdefault(task, request)  # an eager task has begun already
            task.add_done_callback(self._ended)

    async def _send(self, request: Request) -> None:
        following: Request | None = request
        task = cast("asyncio.Task[None]", asyncio.current_task())
        while following is not None:
            self._requests[task] = following
            following = await self.carry_out(following)

    def _ended(self, task: asyncio.Task[None]) -> None:
        request = self._requests.pop(task)
        if task.cancelled():
            self.engine.hand_back(request.id, Failure("the request was interrupted", sent=True))
            self.wake()
        elif (error := task.exception()) is not None:  # its state is unknown
            self.abort(f"a request was interrupted by {type(error).__name__}")
            self.wake()


class _LastWord:
    """Ends a loop's sessions when the loop is closed with its tasks unfinished.

    asyncio has no hook for the close of a loop, but drops its timers: only a timer that is never
    due refers to this object.
    """

    def __call__(self) -> None:
        """The timer is due."""

    def __del__(self) -> None:
        for session in list(registry.values()):
            if isinstance(session, AsyncioSession) and session.loop.is_closed():
                session.abort(LOOP_CLOSED)


@documented
class AsyncClient(LoopClient):
    """Sends events from asyncio.

    May be made before the loop runs; it belongs to the loop of its first use. Clients of the same
    ``api_key``, ``base_url``, ``api`` and ``http_client`` in a loop share one token and one task.
    ``aclose``, ``drain``, ``flush`` and ``get_token`` are awaited, and so are deliveries; other
    methods are plain calls.
    """

    def _join(self) -> Buffer:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "an AsyncClient is used inside asyncio's running event loop; in trio use "
                "masivo.TrioClient, without a loop masivo.Client"
            ) from None
        return self._attach(AsyncioSession, loop)

    async def __aenter__(self) -> Self:
        self._bound().use()
        return self
