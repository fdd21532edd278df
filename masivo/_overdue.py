"""The requests that are out, and the time at which each is given up.

A thread cannot be cut off in a step that waits: a library's, or the system's for a name. So whoever
waits for it stops waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from masivo.protocol import Request

__all__ = ["Outstanding"]

PATIENCE: Final = 0.25
"""How long past its timeout a request may still bring its own result, in seconds; and as long once
more, counted from when somebody has looked. After a freeze its response may be there."""


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
        """A request is out that is to be over by then."""
        self._out[request.id] = _Out(request, until + PATIENCE, looked=False)

    def discard(self, request: Request) -> None:
        """A request is over."""
        self._out.pop(request.id, None)

    def next(self, other: float | None = None) -> float | None:
        """The time at which to call ``overdue``, or the other one, if that is sooner."""
        times = [each.until for each in list(self._out.values())]
        return min(times if other is None else [*times, other], default=None)

    def overdue(self, now: float) -> list[Request]:
        """Remove and return the requests that are to be given up."""
        given_up: list[Request] = []
        for each in list(self._out.values()):
            if each.until > now:
                continue
            # One that ends in this instant may come in again; its second result is ignored.
            if self._out.pop(each.request.id, None) is None:
                continue
            if each.looked:
                given_up.append(each.request)
            else:
                self._out[each.request.id] = each._replace(until=now + PATIENCE, looked=True)
        return given_up
