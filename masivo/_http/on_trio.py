"""Waiting in trio."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from masivo import MasivoConfigError

from .connections import now

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    Wait = Callable[[socket.socket], Awaitable[None]]

__all__ = ["Trio"]

T = TypeVar("T")


class Trio:
    """See World."""

    def __init__(self) -> None:
        clock: Any = trio.lowlevel.current_clock()
        # A MockClock, which is not imported here.
        self._mock = clock if hasattr(clock, "autojump_threshold") else None
        self.now: Callable[[], float] = now if self._mock is None else clock.current_time

    @asynccontextmanager
    async def bound(self, seconds: float) -> AsyncGenerator[None]:
        """See World."""
        with trio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            raise TimeoutError

    async def in_thread(self, function: Callable[[], T]) -> T:
        """See World."""
        limit = trio.CapacityLimiter(1)  # the application may occupy all threads of trio's own
        try:
            return await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=limit)
        except RuntimeError:  # the interpreter exits: no thread is started any more
            return function()

    async def wait(
        self, sockets: Sequence[socket.socket], seconds: float, *, writing: bool = False
    ) -> None:
        """See World.

        Raises:
            MasivoConfigError: the clock would jump to the end of every wait at once.
        """
        if sockets and self._mock is not None and self._mock.autojump_threshold == 0:
            raise MasivoConfigError(
                "under trio's MockClock(autojump_threshold=0) time jumps to the end of every "
                "timeout while a request is under way: give it a threshold longer than the server "
                "takes, such as 0.1, or use the pytest fixture masivo_clock in its place"
            )
        with trio.move_on_after(seconds) as scope:
            if len(sockets) == 1 and not writing:
                await trio.lowlevel.wait_readable(sockets[0])
                return
            async with trio.open_nursery() as nursery:
                for each in sockets:
                    nursery.start_soon(_first, scope, trio.lowlevel.wait_readable, each)
                    if writing:
                        nursery.start_soon(_first, scope, trio.lowlevel.wait_writable, each)


async def _first(scope: trio.CancelScope, wait: Wait, each: socket.socket) -> None:
    await wait(each)
    scope.cancel()
