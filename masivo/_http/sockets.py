"""Requests from threads."""

from __future__ import annotations

import math
import select
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .connections import now

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence

    from masivo.protocol import Failure, Request, Response

    from .openers import Opener

__all__ = ["ThreadSender", "Threads"]

T = TypeVar("T")

_LONGEST: Final = 86_400.0
"""The longest single wait, in seconds: the system counts milliseconds in 32 bits."""


class Threads:
    """See World: waits block the thread, and bound their own time."""

    now = staticmethod(now)

    def bound(self, seconds: float) -> nullcontext[None]:
        """See World."""
        return nullcontext()

    async def in_thread(self, function: Callable[[], T]) -> T:
        """See World: this is a thread."""
        return function()

    async def wait(
        self, sockets: Sequence[socket.socket], seconds: float, *, writing: bool = False
    ) -> None:
        """See World."""
        poll = select.poll()  # `select.select` supports small descriptor numbers only
        for each in sockets:
            poll.register(each, select.POLLIN | select.POLLOUT if writing else select.POLLIN)
        poll.poll(math.ceil(min(seconds, _LONGEST) * 1000))


class ThreadSender:
    """Sends requests from threads.

    Args:
        opener: makes the transport.
    """

    def __init__(self, opener: Opener) -> None:
        self._transport = opener(Threads())

    def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception; for several threads at once."""
        return _run(self._transport.send(request))

    def given_up(self, request: Request) -> Failure:
        """Return the failure of a request that is given up: it did not end in time."""
        return self._transport.given_up(request)

    def close(self) -> None:
        """Close the connections. Another request may still follow."""
        _run(self._transport.aclose())


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that is never suspended."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a wait of threads does not suspend")
