"""Forks and the exit of the process, for the sessions of every world."""

from __future__ import annotations

import atexit
import os
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from ._client import clients
from ._log import logger
from ._session import registry, sessions

if TYPE_CHECKING:
    import threading

    from ._session import SessionBase
    from .protocol import Buffer, CloseTicket

__all__ = ["deliver", "exiting", "hold_in_forks", "notice_fork", "register_child_exit"]

EXIT_TIMEOUT = 5.0
"""Seconds for the flush of all open clients at interpreter exit."""

AT_ONCE: Final = 0.5
"""Seconds for that flush after Ctrl-C or another signal whose handler raises."""

exiting = False
"""True once open clients are flushed, as the interpreter exits: no thread is started any more."""

_pid = os.getpid()
_spent: Final[list[float]] = []  # seconds of EXIT_TIMEOUT
_now: Final = partial(time.monotonic)  # not itself: a test that freezes time replaces that

_locks: Final[list[threading.RLock]] = []
_registered_in: int | None = None


# ── Forks ────────────────────────────────────────────────────────────────────────────────────


def hold_in_forks(lock: threading.RLock) -> None:
    """Hold a lock across each fork: if another thread held it at that moment, it would stay locked
    in the child."""
    _locks.append(lock)


def _before_fork() -> None:
    for lock in _locks:
        lock.acquire()


def _after_fork_in_parent() -> None:
    for lock in _locks:
        lock.release()


def notice_fork(*, resent: int = 0) -> None:
    """Begin anew if this process is the child of a fork that bypassed Python's hooks. Call it where
    that is cheap, and before a wait.

    Args:
        resent: how many of the events that wait for a poll the caller will send again.
    """
    if os.getpid() == _pid:
        return
    buffers = [buffer for session in sessions for buffer in session.engine.buffers]
    unread = sum(buffer.outbox.unread for buffer in buffers) - resent
    _after_fork_in_child()
    if unread > 0:
        events = "1 event" if unread == 1 else f"up to {unread} events"
        logger.warning(
            "%s not sent: this process was forked without Python's fork hooks, so its events "
            "cannot be told from its parent's; fork with os.fork, or make clients in the child",
            events,
        )


def _after_fork_in_child() -> None:
    for lock in _locks:
        with suppress(RuntimeError):  # it is not held: uWSGI calls the hook of the child alone
            lock.release()
    for session in sessions:
        session.forked()
    global exiting, _pid
    exiting, _pid = False, os.getpid()
    _spent.clear()
    sessions.clear()
    registry.clear()
    for client in clients:
        client._forked()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


# ── The end ──────────────────────────────────────────────────────────────────────────────────


def deliver(closing: list[tuple[SessionBase, Buffer]]) -> None:
    """Close clients and wait, as the interpreter exits: all clients together have EXIT_TIMEOUT, and
    after Ctrl-C AT_ONCE, as after any signal whose handler raises (``sys.exit`` on SIGTERM). One
    warning counts the events that got no outcome."""
    began = _now()
    tickets: list[CloseTicket] = []
    with suppress(BaseException):  # of a second signal: nothing more is waited for
        try:
            _close(closing, tickets, max(0.0, EXIT_TIMEOUT - sum(_spent)))
        except BaseException:  # noqa: BLE001
            _close(closing, tickets, AT_ONCE)
    _spent.append(_now() - began)
    ended = zip(closing, tickets, strict=False)
    left = [buffer.stats() for (_, buffer), ticket in ended if ticket.outcome is None]
    if lost := sum(stats.queued + stats.in_flight for stats in left):
        events = "1 event was" if lost == 1 else f"{lost} events were"
        logger.warning("%s not sent: the interpreter exited", events)


def _close(
    closing: list[tuple[SessionBase, Buffer]], tickets: list[CloseTicket], seconds: float
) -> None:
    """Close clients within this many seconds."""
    until = _now() + seconds
    tickets[:] = [buffer.close(seconds) for _, buffer in closing]
    for session, _ in closing:
        session.wake()  # all at once, so that none waits for the ones before it
    # First each gets its share of the time: a slow server must not use up that of the others.
    for turn in (1, 0):
        for n, (session, _) in enumerate(closing):
            left = max(0.0, until - _now())
            session.finish(tickets[n], left / (1 + turn * (len(closing) - n - 1)))


def _log_unclaimed() -> None:
    with suppress(BaseException):
        for session in sessions:
            session.log_unclaimed()


def _flush() -> None:
    global exiting
    notice_fork()
    exiting = True
    deliver(
        [
            (session, buffer)
            for session in sessions
            if session.is_driven
            for buffer in session.engine.buffers
        ]
    )
    for session in sessions:
        if not session.is_driven:
            session.abort("the interpreter exited")


_exit_functions: Final = (_log_unclaimed, _flush)  # the last one is called first
for _function in _exit_functions:
    atexit.register(_function)


def register_child_exit() -> None:
    """Register the exit functions in a child of ``multiprocessing``, which runs its own finalizers
    and no ``atexit`` functions. Called when a session first needs a driver."""
    global _registered_in
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _registered_in == os.getpid():
        return
    from multiprocessing import util

    _registered_in = os.getpid()
    # Twice: the child ends without letting go of the clients that other finalizers made since.
    for priority in (10, -sys.maxsize):
        for function in _exit_functions:
            util.Finalize(None, function, exitpriority=priority)
