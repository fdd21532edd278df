"""A process's forks and its end, for the sessions of every world."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ._client import clients
from ._session import registry, sessions
from ._settle import unseen

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

__all__ = ["at_exit", "hold_in_forks", "register_child_exit"]


_locks: Final[list[threading.RLock]] = []
_at_exit: Final[list[Callable[[], None]]] = []
_registered_in: int | None = None


# ── Forks ────────────────────────────────────────────────────────────────────────────────────


def hold_in_forks(lock: threading.RLock) -> None:
    """Take a lock before each fork: one in the middle of what it guards would block the child."""
    _locks.append(lock)


def _before_fork() -> None:
    for lock in _locks:
        lock.acquire()


def _after_fork_in_parent() -> None:
    for lock in _locks:
        lock.release()


def _after_fork_in_child() -> None:
    for lock in _locks:
        with suppress(RuntimeError):  # it is not taken: uWSGI tells Python of the child alone
            lock.release()
    for session in sessions:
        session.forked()
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


def at_exit(function: Callable[[], None]) -> Callable[[], None]:
    """Have a function called when the interpreter exits, in children of multiprocessing too."""
    _at_exit.append(function)
    return atexit.register(function)


@at_exit
def _last_words() -> None:
    # Registered before whatever the worlds have to do at exit, and so called after it.
    for session in sessions:
        session.last_words()


def register_child_exit() -> None:
    """See to a child of ``multiprocessing``: it runs no ``atexit`` functions, but finalizers of its
    own. To be called at a session's first need of a driver."""
    global _registered_in
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _registered_in == os.getpid():
        return
    from multiprocessing import util

    _registered_in = os.getpid()
    for function in _at_exit:
        util.Finalize(None, function, exitpriority=10)
    util.Finalize(None, unseen.print, exitpriority=9)
