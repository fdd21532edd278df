"""Threads for requests, and for calls of the application's code, which may block."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import get_ident
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Helpers", "start_thread"]

LINGER: Final = 0.1
"""Seconds that a helper waits for another job before it ends."""

_Job: TypeAlias = "Callable[[], object]"


def start_thread(thread: threading.Thread) -> bool:
    """Start a thread; return False if that is impossible.

    Raises:
        RuntimeError: gevent patched threads after this module was imported.
    """
    if queue.SimpleQueue is not SimpleQueue:
        raise RuntimeError(
            "gevent's monkey.patch_all() ran after masivo was imported, so masivo's waits would "
            "block every greenlet: call patch_all() first, before any other import"
        )
    try:
        thread.start()
    except RuntimeError:  # no more of them, or the interpreter is shutting down
        return False
    return True


class Helpers:
    """Threads for one session, as many as it has concurrent jobs.

    Args:
        own: holds the identities of the threads while they run.
        may_start: tells if a thread may be started now.
    """

    def __init__(self, own: set[int], may_start: Callable[[], bool]) -> None:
        self._own = own
        self._may_start = may_start
        self._dismissed = False
        # The mailboxes of idle threads. Whoever removes one, also its own thread, decides what it
        # does.
        self._idle: list[SimpleQueue[_Job | None]] = []
        self._undone: list[None] = []  # one item for each job; not the job, which holds a token

    @property
    def busy(self) -> bool:
        """True while a job is not done."""
        return bool(self._undone)

    def take(self, job: _Job) -> bool:
        """Do a job in a thread; return False if none can be started."""
        self._undone.append(None)
        try:
            self._idle.pop().put(job)
        except IndexError:
            thread = threading.Thread(target=self._work, args=(job,), name="masivo", daemon=True)
            if not (self._may_start() and start_thread(thread)):
                self._undone.pop()
                return False
        return True

    def dismiss(self) -> None:
        """End the idle threads: another job is unlikely."""
        self._dismissed = True
        with suppress(IndexError):
            while True:
                self._idle.pop().put(None)

    def _work(self, first: _Job) -> None:
        mailbox: SimpleQueue[_Job | None] = SimpleQueue()
        job: _Job | None = first
        self._own.add(get_ident())
        try:
            while job is not None:
                job()
                self._undone.pop()
                job = None if self._dismissed else self._wait(mailbox)
        finally:
            self._own.discard(get_ident())

    def _wait(self, mailbox: SimpleQueue[_Job | None]) -> _Job | None:
        self._idle.append(mailbox)
        with suppress(Empty):
            return mailbox.get(timeout=LINGER)
        try:
            self._idle.remove(mailbox)
        except ValueError:  # a caller has just taken it, to put a job in
            return mailbox.get()
        return None
