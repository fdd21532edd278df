"""Requests from asyncio."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from .connections import now
from .transport import Transport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from .by_httpx import AsyncHttpxSender
    from .sources import Source

__all__ = ["Asyncio", "asyncio_sender"]

T = TypeVar("T")


class Asyncio:
    """See World."""

    def __init__(self) -> None:
        # Real time, unless a subclass of asyncio's loops has its own: uvloop's time is cached per
        # iteration.
        loop, base = asyncio.get_running_loop(), asyncio.BaseEventLoop
        virtual = isinstance(loop, base) and type(loop).time is not base.time
        self.now: Callable[[], float] = loop.time if virtual else now

    async def in_thread(self, function: Callable[[], T], seconds: float) -> T:
        """See World."""
        try:
            called = asyncio.get_running_loop().run_in_executor(None, function)
        except RuntimeError:  # the interpreter exits: no thread is started any more
            return function()
        async with asyncio.timeout(seconds):
            return await called

    async def wait(
        self, reading: Sequence[socket.socket], writing: Sequence[socket.socket], seconds: float
    ) -> None:
        """See World. Nothing is cancelled when the time is over, so nothing can be lost."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        timer = loop.call_later(seconds, _wake, ready)
        try:
            for each in reading:
                loop.add_reader(each, _wake, ready)
            for each in writing:
                loop.add_writer(each, _wake, ready)
            await ready
        finally:
            timer.cancel()
            for each in reading:
                loop.remove_reader(each)
            for each in writing:
                loop.remove_writer(each)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def asyncio_sender(source: Source | None, base_url: str) -> Transport | AsyncHttpxSender:
    """Return the sender of requests from asyncio. See ``thread_sender``."""
    if source is None:
        return Transport(Asyncio(), base_url)
    from .by_httpx import AsyncHttpxSender  # only a client that needs it pays for it

    return AsyncHttpxSender(source, asyncio.timeout, partial(asyncio.sleep, 0))
