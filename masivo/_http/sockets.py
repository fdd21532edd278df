"""Requests from threads."""

from __future__ import annotations

import math
import select
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .connections import now
from .transport import Transport, failure_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence

    from masivo.protocol import Failure, Request, Response

    from .by_httpx import HttpxSender
    from .sources import Source

__all__ = ["SocketSender", "thread_sender"]

T = TypeVar("T")

_LONGEST: Final = 86_400.0
"""The longest single wait, in seconds: the system counts milliseconds in 32 bits."""


class _Threads:
    """See World: waits block the thread."""

    now = staticmethod(now)

    async def in_thread(self, function: Callable[[], T], seconds: float) -> T:
        """See World: this is a thread. The function bounds its own time."""
        return function()

    async def wait(
        self, reading: Sequence[socket.socket], writing: Sequence[socket.socket], seconds: float
    ) -> None:
        """See World."""
        poll = select.poll()  # `select.select` supports small descriptor numbers only
        for each in {*reading, *writing}:
            poll.register(
                each, select.POLLIN * (each in reading) | select.POLLOUT * (each in writing)
            )
        poll.poll(math.ceil(min(seconds, _LONGEST) * 1000))


class SocketSender:
    """Sends requests from threads, over connections of our own.

    Args:
        base_url: its scheme, host and port are where requests go.
    """

    def __init__(self, base_url: str) -> None:
        self._transport = Transport(_Threads(), base_url)

    def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception; for several threads at once."""
        return _run(self._transport.send(request))

    def given_up(self, request: Request) -> Failure:
        """Return the failure of a request that is given up: it is stuck in a name lookup."""
        return failure_of(TimeoutError(), "no response", request.timeout, None)

    def close(self) -> None:
        """Close the connections. Another request may still follow."""
        self._transport.close()


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that is never suspended."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        coroutine.close()
    raise AssertionError("a wait of threads does not suspend")


def thread_sender(source: Source | None, base_url: str) -> SocketSender | HttpxSender:
    """Return the sender of requests from threads.

    Args:
        source: see ``source_of``.
        base_url: its scheme, host and port are where requests go.
    """
    if source is None:
        return SocketSender(base_url)
    from .by_httpx import HttpxSender  # only a client that needs it pays for it

    return HttpxSender(source)
