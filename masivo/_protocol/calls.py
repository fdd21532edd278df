"""Calls of the application's code, made in order."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .values import FailedEvent, OnError

__all__ = ["Calls", "call", "running", "tell"]

T = TypeVar("T")

_NOT_RUN: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)

_inside: Final[ContextVar[Sequence[OnError]]] = ContextVar("masivo_on_error", default=())
"""The ``on_error`` functions that are running in this context."""


def call(function: Callable[[T], object], argument: T) -> None:
    """Call a function of the application's.

    Raises:
        TypeError: it returned a coroutine or a generator, so none of its code has run.
    """
    kind = type(function(argument))
    if kind in _NOT_RUN:
        raise TypeError(f"it returned a {kind.__name__}, which is never run: pass a plain function")


def tell(on_error: OnError, failed: FailedEvent, inside: Sequence[OnError] = ()) -> None:
    """Call ``on_error``, noting for ``running`` that it runs.

    Args:
        on_error: the function.
        failed: the failed event and its error.
        inside: the functions inside which the event was sent, if it failed at once: they count as
            still running.
    """
    functions = [*_inside.get(), *inside, on_error]
    before = _inside.set(functions)
    try:
        call(on_error, failed)
    finally:
        functions.clear()  # a task that it started has a copy of the variable
        _inside.reset(before)


def running() -> tuple[OnError, ...]:
    """Return the ``on_error`` functions that called the caller, directly or indirectly."""
    return tuple(_inside.get())


class Calls:
    """Calls that are made one after another: of a client's ``on_error``, or of the log.

    The application's code may block, or wait for a lock whose holder waits for us. So a driver that
    must keep polling meanwhile calls ``make`` on another thread.
    """

    def __init__(self) -> None:
        self.announced: int = 0
        """The number of calls that polls have decided on."""
        self._made = 0
        self._due: deque[tuple[Callable[[], object], int]] = deque()
        self._turn: list[None] = [None]  # whoever pops it makes the calls, then puts it back

    @property
    def idle(self) -> bool:
        """True while every announced call has been made."""
        return self._made == self.announced

    def add(self, call: Callable[[], object]) -> None:
        """Queue an announced call. The caller ensures that ``make`` runs."""
        self._due.append((call, 1))

    def then(
        self, function: Callable[[], None], start: Callable[[Callable[[], None]], object]
    ) -> None:
        """Call a function once all calls so far have been made: at once, if they have been.

        Args:
            function: the function.
            start: see ``settle``.
        """
        if self.idle:
            function()
        else:
            self._due.append((function, 0))
            start(self.make)

    def make(self) -> None:
        """Make every call that is due. If several threads do this at once, one makes all the calls
        and the others return."""
        while self._due:
            try:
                turn = self._turn.pop()
            except IndexError:
                return  # its holder checks again after putting it back
            try:
                while self._due:
                    call, counts = self._due.popleft()
                    try:
                        call()
                    finally:
                        self._made += counts
            finally:
                self._turn.append(turn)
