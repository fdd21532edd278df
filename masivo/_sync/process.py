"""What the sessions of threads share with the process: who is there, fork, exit."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from masivo import MasivoClosedError
from masivo._client import clients
from masivo._http import build_lock
from masivo._settle import unseen
from masivo.protocol import Account, Failed

from . import clock as clocks

if TYPE_CHECKING:
    from masivo.protocol import Output

    from .session import Session

__all__ = [
    "EXIT_TIMEOUT",
    "Key",
    "every",
    "exiting",
    "orphaned",
    "register_child_exit",
    "registry",
    "registry_lock",
    "remember_failures",
    "this",
]

EXIT_TIMEOUT = 5.0
"""How long open clients are flushed at interpreter exit, all together, in seconds."""

Key: TypeAlias = tuple[Account, int]
"""What clients share a session by: the account, and the identity of their ``http_client``."""

registry: Final[dict[Key, Session]] = {}
"""The sessions that new clients of their keys join."""
registry_lock: Final = threading.RLock()
every: Final[weakref.WeakSet[Session]] = weakref.WeakSet()
"""The sessions above, and those that have been retired."""
this = object()
"""Stands for this process: the child of a fork gets another one."""
exiting = False
"""Whether the interpreter is about to end: no thread can be started any more."""

_untold: weakref.WeakValueDictionary[int, Failed] = weakref.WeakValueDictionary()
"""Failures, by id: what nobody has asked about is told at exit."""


def remember_failures(output: Output) -> None:
    """Note what has failed, in case that nobody asks before the interpreter ends."""
    for settled in output.settled:
        if isinstance(settled.outcome, Failed):
            _untold[id(settled.outcome)] = settled.outcome


def _before_fork() -> None:
    # A fork in the middle of an import, or with a lock taken, would block the child for ever.
    build_lock.acquire()
    registry_lock.acquire()


def _after_fork_in_parent() -> None:
    registry_lock.release()
    build_lock.release()


def orphaned() -> MasivoClosedError:
    """What becomes of an event that the parent of this process had taken."""
    return MasivoClosedError("this process was forked: the event is its parent's to send")


def _after_fork_in_child() -> None:
    """Begin anew: the parent sends its events, with its own threads, locks and connections."""
    for lock in (registry_lock, build_lock):
        with suppress(RuntimeError):  # it is not taken: uWSGI tells Python of the child alone
            lock.release()
    global exiting, this
    exiting = False
    this = object()
    inherited = list(registry.values())
    registry.clear()
    _untold.clear()
    for session in inherited:
        for buffer in session.engine.buffers:
            buffer.orphaned = Failed(orphaned(), 0, None)
    for client in list(clients):
        client._forked()  # noqa: SLF001


def _flush_at_exit() -> None:
    """Deliver what open clients hold, for at most EXIT_TIMEOUT in all, without a new thread."""
    global exiting
    exiting = True
    deadline = clocks.current.monotonic() + EXIT_TIMEOUT
    closing = [
        (session, buffer, buffer.close(deadline - clocks.current.monotonic()))
        for session in list(registry.values())
        for buffer in session.engine.buffers
    ]
    for session, _, _ in closing:
        session.wake()  # all of them now, not each when those before it are done
    for session, buffer, ticket in closing:
        session.finish(ticket, deadline, buffer)
    for reference in _untold.valuerefs():
        if (failed := reference()) is not None:
            failed.report_unclaimed()
    with registry_lock:
        sessions = list(every)
    for session in sessions:
        session.settle_down(deadline)


def register_child_exit() -> None:
    """A child of ``multiprocessing`` runs no ``atexit`` functions, but finalizers of its own."""
    global _registered_in
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _registered_in == os.getpid():
        return
    from multiprocessing import util

    _registered_in = os.getpid()
    util.Finalize(None, _flush_at_exit, exitpriority=10)
    util.Finalize(None, unseen.print, exitpriority=9)


_registered_in: int | None = None
atexit.register(_flush_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
