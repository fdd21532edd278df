"""Requests from trio."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar, cast

import trio

from masivo import MasivoConfigError

from .connections import now
from .transport import Transport

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from trio.testing import MockClock

    from .by_httpx import AsyncHttpxSender
    from .sources import Source

__all__ = ["Trio", "trio_sender"]

T = TypeVar("T")


class Trio:
    """See World."""

    def __init__(self) -> None:
        testing = sys.modules.get("trio.testing")
        clock = trio.lowlevel.current_clock()
        mocked = testing is not None and isinstance(clock, testing.MockClock)
        self._mock = cast("MockClock", clock) if mocked else None
        self.now: Callable[[], float] = clock.current_time if mocked else now

    async def in_thread(self, function: Callable[[], T], seconds: float) -> T:
        """See World."""
        with self._within(seconds):
            try:
                return await trio.to_thread.run_sync(function, abandon_on_cancel=True)
            except RuntimeError:  # the interpreter exits: no thread is started any more
                return function()
        raise TimeoutError

    async def wait(
        self, reading: Sequence[socket.socket], writing: Sequence[socket.socket], seconds: float
    ) -> None:
        """See World."""
        with self._within(seconds) as scope:
            if len(reading) == 1 and not writing:
                await trio.lowlevel.wait_readable(reading[0])
                return

            async with trio.open_nursery() as nursery:
                for each in reading:
                    nursery.start_soon(_first, scope, trio.lowlevel.wait_readable, each)
                for each in writing:
                    nursery.start_soon(_first, scope, trio.lowlevel.wait_writable, each)

    def _within(self, seconds: float) -> trio.CancelScope:
        """A cancel scope of this many seconds.

        Raises:
            MasivoConfigError: the mock clock would end them at once.
        """
        if self._mock is not None and self._mock.autojump_threshold == 0:
            raise MasivoConfigError(
                "under trio's MockClock(autojump_threshold=0) time jumps to the end of every "
                "timeout while a request is under way: give it a threshold longer than the server "
                "takes, such as 0.1, or use the pytest fixture masivo_clock in its place"
            )
        return trio.move_on_after(seconds)


async def _first(
    scope: trio.CancelScope, wait: Callable[[socket.socket], Awaitable[None]], each: socket.socket
) -> None:
    await wait(each)
    scope.cancel()


def trio_sender(source: Source | None, base_url: str) -> Transport | AsyncHttpxSender:
    """Return the sender of requests from trio. See ``thread_sender``."""
    if source is None:
        return Transport(Trio(), base_url)
    from .by_httpx import AsyncHttpxSender  # only a client that needs it pays for it

    return AsyncHttpxSender(source, _bound, trio.lowlevel.checkpoint)


@asynccontextmanager
async def _bound(seconds: float) -> AsyncGenerator[None]:
    with trio.fail_after(seconds):
        yield
