"""Waiting in asyncio."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from .connections import now

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

__all__ = ["Asyncio"]

T = TypeVar("T")


class Asyncio:
    """See World."""

    def __init__(self) -> None:
        # Real time, unless one of asyncio's loops has its own: uvloop's time is cached per
        # iteration.
        loop, base = asyncio.get_running_loop(), asyncio.BaseEventLoop
        usual = getattr(loop.time, "__func__", None) is base.time
        virtual = isinstance(loop, base) and not usual
        self.now: Callable[[], float] = loop.time if virtual else now

    def bound(self, seconds: float) -> asyncio.Timeout:
        """See World."""
        return asyncio.timeout(seconds)

    async def in_thread(self, function: Callable[[], T]) -> T:
        """See World. In a thread of our own: the loop's are the application's, which may occupy
        all, and the loop's end and the interpreter's wait for them."""
        called: Future[T] = Future()
        called.set_running_or_notify_cancel()  # so that nothing cancels it

        def call() -> None:
            try:
                called.set_result(function())
            except BaseException as error:  # noqa: BLE001 (raised by the future)
                called.set_exception(error)

        try:
            threading.Thread(target=call, name="masivo", daemon=True).start()
        except RuntimeError:  # the interpreter exits: no thread is started any more
            return function()
        return await asyncio.wrap_future(called)

    async def wait(
        self, sockets: Sequence[socket.socket], seconds: float, *, writing: bool = False
    ) -> None:
        """See World. Nothing is cancelled when the time is over, so nothing can be lost."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        timer = loop.call_later(seconds, ready.set)
        # By their numbers: with a socket, asyncio spends two system calls on a text about it.
        numbers = [each.fileno() for each in sockets]
        try:
            for each in numbers:
                loop.add_reader(each, ready.set)
                if writing:
                    loop.add_writer(each, ready.set)
            await ready.wait()
        finally:
            timer.cancel()
            for each in numbers:
                loop.remove_reader(each)
                if writing:
                    loop.remove_writer(each)
