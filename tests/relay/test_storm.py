"""A fleet in a storm: nothing that was answered 200 is lost, and the order holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo._protocol.sending import backoff
from masivo.emulator import Fault, RecordedRequest

from .storm.leases import Lost, partition_of
from .storm.storm import PARTITIONS, Storm

if TYPE_CHECKING:
    from pathlib import Path

CUSTOMER = "thread-0-1"
MINE = partition_of(CUSTOMER, PARTITIONS)


@pytest.mark.full
def test_a_fleet_weathers_a_storm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relays and Redis are killed, relays are paused for longer than a lease, the API fails: every
    event that was answered 200 is delivered or a dead letter, in order per customer, and twice only
    if it was on its way when its relay lost the lease, or its response was lost."""
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.05)
    storm = Storm(20260101, 20.0, tmp_path)
    storm.run()
    print(storm)
    storm.check()


def accepted(at: float, *numbers: int, fault: Fault | None = None) -> RecordedRequest:
    """A batch that the API accepted at a time."""
    events: list[dict[str, object]] = [
        {"customer_id": CUSTOMER, "metadata": {"n": number}} for number in numbers
    ]
    return RecordedRequest(
        number=1,
        route="events",
        method="POST",
        path="/",
        headers={},
        body=b"",
        events=events,
        received_at=at,
        accepted=len(events),
        fault=fault,
    )


@pytest.mark.parametrize(
    ("first", "lost", "reason"),
    [
        (accepted(10.0, 1, 2), [], None),
        (accepted(10.0, 1, 2, fault=Fault(status=500)), [], None),
        (accepted(10.0, 1, 2, fault=Fault(reset="after_reading")), [], None),
        (accepted(10.0, 1, 2, fault=Fault(reset="after_processing")), [], "response lost"),
        (accepted(10.0, 1, 2), [Lost(MINE, 11.0, 11.1, frozenset({2, 3}))], "lease lost"),
        (accepted(10.0, 1, 2), [Lost(MINE, 11.0, 11.1, frozenset({1, 3}))], None),  # was removed
        (accepted(10.0, 1, 2), [Lost(MINE, 9.0, 9.1, frozenset({2}))], None),  # sent after it
        (accepted(10.0, 1, 2), [Lost(MINE, 12.1, 12.2, frozenset({2}))], None),  # again before it
        (accepted(10.0, 1, 2), [Lost(MINE + 1, 11.0, 11.1, frozenset({2}))], None),
    ],
)
def test_a_double_needs_a_reason(
    tmp_path: Path, first: RecordedRequest, lost: list[Lost], reason: str | None
) -> None:
    """The storm's check fails for an event that came twice, unless its own response was lost, or
    it was in flight when its partition's lease was lost."""
    storm = Storm(1, 0.0, tmp_path)
    storm.requests = [first, accepted(12.0, 2, 3)]
    storm.events = [event for each in storm.requests for event in each.events or ()]
    storm.exits = [0, 0, 0]
    storm.lost = lost
    storm.doubles = [*storm.explained()]
    assert storm.doubles == [(2, reason)]
    if reason is None:
        with pytest.raises(AssertionError, match="1 events came twice for no reason"):
            storm.check()
    else:
        storm.check()
