"""In which thread the calls of an event loop's clients may come.

Every call to send asks, and compares with its own thread. asyncio's function that gives the running
loop takes a system call in Python 3.11, a twentieth of the call; its loops know their thread.
"""

from __future__ import annotations

import asyncio
from threading import get_ident
from typing import Final, Protocol, cast

__all__ = ["NOWHERE", "Home", "home_of", "this_thread"]


class Home(Protocol):
    """What knows the thread, by the name that asyncio's own loops have for it."""

    @property
    def _thread_id(self) -> int | None:
        """The identity of the thread that runs the loop now; None while none does."""


class _Thread:
    def __init__(self, thread_id: int | None) -> None:
        self._thread_id = thread_id


NOWHERE: Final[Home] = _Thread(None)
"""No thread at all: what a client has before it knows its loop."""


class _Foreign:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def _thread_id(self) -> int | None:
        running = asyncio._get_running_loop()  # noqa: SLF001 (does not raise)
        return get_ident() if running is self._loop else None


def home_of(loop: asyncio.AbstractEventLoop) -> Home:
    """Where an asyncio loop runs, be it one of asyncio's own or another, such as uvloop's."""
    known = isinstance(loop, asyncio.BaseEventLoop)
    return cast("Home", loop) if known else _Foreign(loop)


def this_thread() -> Home:
    """Here, for as long as there are calls: a trio run has its thread to itself."""
    return _Thread(get_ident())
