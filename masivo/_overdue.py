"""The requests that are out, and the time at which each is given up.

A thread cannot be interrupted in a blocking step of a library or of a name lookup. So its waiter
stops waiting instead.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from masivo.protocol import Request

__all__ = ["Outstanding"]

PATIENCE: Final = 0.25
"""Seconds past its timeout in which a request may still return its own result; and as many again
after the first check: after a freeze of the process, its response may have arrived."""


class _Out(NamedTuple):
    request: Request
    until: float
    looked: bool


class Outstanding:
    """The requests that are out. Safe in threads: each step is one of the dict's own."""

    def __init__(self) -> None:
        self._out: dict[int, _Out] = {}

    def __bool__(self) -> bool:
        return bool(self._out)

    def add(self, request: Request, until: float) -> None:
        """Note a request that was sent, and must end by ``until``."""
        self._out[request.id] = _Out(request, until + PATIENCE, looked=False)

    def discard(self, request: Request) -> None:
        """Forget a request that has ended."""
        self._out.pop(request.id, None)

    def next(self, other: float = inf) -> float:
        """The time at which to call ``overdue``, or ``other`` if that is sooner; infinity for
        never."""
        return min([other, *(each.until for each in list(self._out.values()))])

    def overdue(self, now: float) -> list[Request]:
        """Remove and return the requests that are to be given up."""
        given_up: list[Request] = []
        for each in list(self._out.values()):
            if each.until > now:
                continue
            # A request that ends in this instant may be added again; its second result is ignored.
            if self._out.pop(each.request.id, None) is None:
                continue
            if each.looked:
                given_up.append(each.request)
            else:
                self._out[each.request.id] = each._replace(until=now + PATIENCE, looked=True)
        return given_up
