"""The sessions of each asyncio loop, and their end when the loop tells nobody of its own."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

from masivo import _process

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from .session import Registry

__all__ = ["registries", "registry_of"]

_CENTURY: Final = 100 * 365 * 86_400.0

registries: weakref.WeakKeyDictionary[AbstractEventLoop, Registry] = weakref.WeakKeyDictionary()


def registry_of(loop: AbstractEventLoop) -> Registry:
    """The sessions of a loop that runs here."""
    registry = registries.get(loop)
    if registry is None:
        registry = registries[loop] = {}
        loop.call_later(_CENTURY, _LastWord(registry))
    return registry


class _LastWord:
    """Ends a loop's sessions when the loop is closed with its tasks unfinished.

    asyncio tells nobody that it closes a loop, but forgets its timers: this object is held by
    nothing else than a timer that is never due.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self) -> None:
        """The timer is due."""

    def __del__(self) -> None:
        _end(self._registry, "the event loop was closed")


def _end(registry: Registry, why: str) -> None:
    for session in list(registry.values()):
        if session.here():
            session.abort(why)


@_process.at_exit
def _end_all() -> None:
    """End what is left in loops that are neither run to their end nor closed."""
    for registry in list(registries.values()):
        _end(registry, "the interpreter exited")
