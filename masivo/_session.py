"""One key's engine, as every world drives it, and the registry that clients join."""

from __future__ import annotations

import logging
import random
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeAlias

from masivo import MasivoClosedError

from ._living import Living
from ._log import logger
from .protocol import Account, Engine, Failed, Waiters

if TYPE_CHECKING:
    from .protocol import Clock, CloseTicket

__all__ = ["GRACE", "Key", "SessionBase", "orphaned", "registry", "sessions"]

GRACE: Final = 0.2
"""Seconds that a close may take past its deadline for the calls of ``on_error`` that the deadline
causes, and that the exit waits for log lines."""

Key: TypeAlias = tuple[object, Account, int]
"""The event loop of a session (None for threads), the account, and the identity of ``http_client``:
clients with the same key share a session."""

registry: Final[dict[Key, SessionBase]] = {}
"""The sessions that new clients of their keys join."""

sessions: Final[Living[SessionBase]] = Living()
"""Every session of this process."""


def orphaned() -> MasivoClosedError:
    """The error of an event that the parent process had accepted before the fork."""
    return MasivoClosedError("this process was forked: its parent sends the event")


class SessionBase(ABC):
    """The common part of the sessions.

    Args:
        key: what clients share it by.
        clock: the engine's clock.
        wall_clock: seconds since the epoch.
    """

    def __init__(self, key: Key, clock: Clock, wall_clock: Clock) -> None:
        self.engine = Engine(
            key[1],
            clock=clock,
            wall_clock=wall_clock,
            random=random.Random(),
            wake=self.wake,
            listening=partial(logger.isEnabledFor, logging.INFO),
        )
        self.waiters = Waiters()
        self.dead = False
        """True once it belongs to the parent of this process."""
        self._key = key
        sessions.add(self)

    @abstractmethod
    def wake(self) -> None:
        """Make the driver poll the engine soon. May be called from anywhere, at any time."""

    @abstractmethod
    def attend(self) -> None:
        """Poll the engine now if this thread may, else soon."""

    @property
    @abstractmethod
    def may_wait(self) -> bool:
        """False where a wait would wait for itself: inside ``on_error``, for example."""

    def check_may_wait(self) -> None:
        """Raise if a wait would wait for itself.

        Raises:
            RuntimeError: called inside ``on_error``, for example.
        """
        if not self.may_wait:
            raise RuntimeError(
                "this would wait for itself: do not call flush, drain, get_token or the client's "
                "close, nor wait for an unfinished delivery, from inside on_error or on_activity"
            )

    @property
    @abstractmethod
    def is_driven(self) -> bool:
        """True if the engine is polled even while the interpreter exits."""

    def finish(self, ticket: CloseTicket, seconds: float | None) -> None:
        """Block this thread until a close has ended.

        Args:
            ticket: the close.
            seconds: how long to wait; None for as long as it takes.
        """
        bell: SimpleQueue[None] = SimpleQueue()
        with self.waiters.waiting(ticket, partial(bell.put, None)), suppress(Empty):
            if ticket.outcome is None:
                bell.get(timeout=None if seconds is None else seconds + GRACE)

    def log_unclaimed(self) -> None:
        """Log failures that are still unclaimed: the interpreter exits."""
        ticket = self.engine.report_unclaimed()
        self.attend()
        self.finish(ticket, GRACE)

    def abort(self, why: str) -> None:
        """End the session without waiting for anything."""
        self.leave()
        self.engine.abort(why)
        self.attend()

    def leave(self) -> None:
        """Leave the registry: the next client of the key starts fresh."""
        if registry.get(self._key) is self:
            registry.pop(self._key, None)

    def forked(self) -> None:
        """Stop, in the child of a fork: threads, loops and events belong to the parent."""
        self.dead = True
        for buffer in self.engine.buffers:
            buffer.forked(Failed(orphaned()))
