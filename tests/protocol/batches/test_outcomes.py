"""The outcomes of events, and the counters (``docs/reference/guarantees.md#counters``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo.protocol import Delivery
from protocol.simulator import Driver, event

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Buffer


class Watched(Delivery, gc=False, eq=False):
    """A delivery that looks at the counters as it gets its outcome, as another thread may."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "outcome":
            stats = _buffers[-1].stats()
            _seen.append((stats.delivered, stats.failed))
        super().__setattr__(name, value)


_buffers: list[Buffer] = []
_seen: list[tuple[int, int]] = []


def counted(end: Callable[[Driver], object]) -> list[tuple[int, int]]:
    """The events delivered and failed, at the moment in which each of two had its outcome."""
    driver = Driver(batch_size=2)
    _buffers[:] = [driver.engine.attach(driver.settings, Watched)]
    _seen.clear()
    driver.send(event(1), event(2), buffer=_buffers[0])
    driver.sign_in()
    end(driver)
    return _seen.copy()


def test_events_are_counted_when_they_have_their_outcome() -> None:
    """A caller that sees an outcome, in the middle of a poll too, finds the event counted."""
    assert counted(lambda driver: driver.accept()) == [(2, 0), (2, 0)]
    assert counted(lambda driver: driver.respond(404)) == [(0, 2), (0, 2)]
