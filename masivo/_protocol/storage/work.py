"""Work on a store, as a poll puts it out; a driver carries it out like a request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from .store import StoreError

__all__ = ["Queued", "StoreDone", "StoreWork"]

_INTERRUPTED: Final = "the work on the store was interrupted"

_Step: TypeAlias = "Callable[[], object]"
_Then: TypeAlias = "Callable[[Any], None]"


class StoreDone(msgspec.Struct, frozen=True):
    """The result of work on a store."""

    results: Sequence[object]
    """The value of each step; a ``StoreError`` where it failed."""


class StoreWork(msgspec.Struct, frozen=True):
    """Work on a client's store, for ``Engine.do_work``; a client's next work comes only when it is
    done."""

    id: int
    """The number that its result is handed back under."""
    steps: Sequence[_Step]
    owner: object = None
    """The owner (see ``Engine.attach``) of the client whose store it is."""

    @property
    def interrupted(self) -> StoreDone:
        """The result of interrupted work."""
        return StoreDone([StoreError(_INTERRUPTED)] * len(self.steps))

    def run(self) -> StoreDone:
        """Do the work; raises no Exception."""
        return StoreDone([_result(step) for step in self.steps])

    def __repr__(self) -> str:
        return f"<StoreWork {self.id}, {len(self.steps)} steps>"


def _result(step: _Step) -> object:
    try:
        return step()
    except StoreError as error:
        return error
    except Exception as error:  # noqa: BLE001 (a store of others may raise anything)
        return StoreError(f"the store raised {type(error).__name__}: {error}")


class Queued:
    """The steps to do on one store, in order; some are out at a time.

    Args:
        start: takes steps and a function; carries the steps out, and calls the function with their
            results in a later poll.
        quick: see ``Store.quick``.
    """

    def __init__(self, start: Callable[[Sequence[_Step], _Then], None], *, quick: bool) -> None:
        self._start = start
        self._quick = quick
        self._steps: deque[tuple[_Step, list[_Then]]] = deque()
        self._out = False
        self._after_out: list[_Then] = []

    @property
    def idle(self) -> bool:
        """True if no step is waiting or out."""
        return not (self._out or self._steps)

    @property
    def last(self) -> _Step | None:
        """The last of the steps that have not been started; None if there is none."""
        return self._steps[-1][0] if self._steps else None

    def add(self, step: _Step, then: _Then | None = None) -> None:
        """Add a step; ``then`` is called with its result."""
        self._steps.append((step, [] if then is None else [then]))

    def after(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the steps so far have been done: now if there are none."""
        if self._steps:
            self._steps[-1][1].append(lambda _: then())
        elif self._out:
            self._after_out.append(lambda _: then())
        else:
            then()

    def do(self, step: _Step, then: _Then | None = None) -> None:
        """Do a step that may be quick: now if it is, unless others come before it."""
        if not (self._quick and self.idle):
            self.add(step, then)
            return
        result: object = StoreError(_INTERRUPTED)
        try:
            result = _result(step)
        finally:
            if then is not None:
                then(result)

    def begin(self) -> None:
        """Start the steps that were added, unless earlier ones are out."""
        if self._out or not self._steps:
            return
        steps, self._steps = self._steps, deque()
        self._out = True
        self._start([step for step, _ in steps], partial(self._done, [thens for _, thens in steps]))

    def _done(self, thens: Sequence[Sequence[_Then]], done: StoreDone) -> None:
        self._out = False
        after, self._after_out = self._after_out, []
        try:
            for each, result in zip(thens, done.results, strict=True):
                for then in each:
                    then(result)
        finally:
            for then in after:
                then(None)
