"""Which request a fault hits, and which faults make sense."""

from typing import Any

import pytest

from masivo.emulator import Fault
from masivo.emulator.faults import FaultPlan


def planned(
    fault: Fault,
    *,
    route: str | None = None,
    number: int | list[int] | None = None,
    times: int | None = 1,
    plan: FaultPlan | None = None,
) -> FaultPlan:
    """Add a fault to a plan, a new one by default."""
    plan = plan or FaultPlan()
    plan.add(fault, route=route, number=number, times=times)
    return plan


A, B = Fault(status=503), Fault(status=429)


def test_the_next_requests() -> None:
    """A fault applies to the next `times` requests."""
    plan = planned(A, times=2)
    assert [plan.take("events", n, n) for n in (1, 2, 3)] == [A, A, None]


@pytest.mark.parametrize("times", [0, "always"])
def test_times(times: Any) -> None:
    """Anything but a number from 1, or None, is a ValueError that says so."""
    with pytest.raises(ValueError, match="times must be 1 or more, or None for every request"):
        planned(A, times=times)


def test_for_ever() -> None:
    """`times=None` lasts until the plan is cleared."""
    plan = planned(A, times=None)
    assert [plan.take("events", n, n) for n in range(1, 51)] == [A] * 50
    plan.clear()
    assert plan.take("events", 51, 51) is None


def test_in_order() -> None:
    """Faults apply in the order in which they were queued."""
    plan = planned(B, plan=planned(A))
    assert [plan.take("events", n, n) for n in (1, 2, 3)] == [A, B, None]


def test_by_route() -> None:
    """A fault for a route waits for a request of that route."""
    plan = planned(A, route="events")
    assert plan.take("authorize", 1, 1) is None
    assert plan.take("events", 2, 1) is A


def test_by_number() -> None:
    """A fault by number hits exactly these requests, counted over all routes."""
    plan = planned(A, number=[2, 4], times=None)
    hits = [plan.take("events", n, 1) is A for n in range(1, 6)]
    assert hits == [False, True, False, True, False]


def test_by_number_of_a_route() -> None:
    """With a route, its own requests are counted."""
    plan = planned(A, route="events", number=2)
    assert plan.take("authorize", 2, 2) is None
    assert plan.take("events", 3, 1) is None
    assert plan.take("events", 4, 2) is A


def test_a_number_goes_first() -> None:
    """A fault for exactly this request goes before those that were queued for any."""
    plan = planned(B, number=2, plan=planned(A, times=None))
    assert [plan.take("events", n, n) for n in (1, 2, 3)] == [A, B, A]


@pytest.mark.parametrize(("number", "times"), [(0, 1), ([], 1), ([1, -1], 1), (None, 0)])
def test_a_fault_for_no_request(number: int | list[int] | None, times: int | None) -> None:
    """A fault that no request can have is a ValueError."""
    with pytest.raises(ValueError):
        planned(A, number=number, times=times)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(body="x"),
        Fault(raw=b""),
        Fault(close=True),
        Fault(reset="before_reading"),
        Fault(reset="after_reading"),
        Fault.html(),
        Fault.garbage(),
        Fault.unavailable(),
        Fault.rate_limited(2),
    ],
)
def test_faults_in_place_of_the_api(fault: Fault) -> None:
    """With a response of its own, or none at all, a fault keeps the API from processing."""
    assert not fault.processes


@pytest.mark.parametrize(
    "fault",
    [
        Fault(),
        Fault(delay=1, drip=0.1, delay_body=1),
        Fault(truncate=1),
        Fault(truncate_headers=1),
        Fault(endless=True),
        Fault(size=10),
        Fault(content_length=1),
        Fault(headers={"Date": None}),
        Fault.lost_response(),
        Fault(status=500, process=True),
        Fault(close=True, process=True),
        Fault(raw=b"", process=True),
    ],
)
def test_faults_after_the_api(fault: Fault) -> None:
    """Everything else spoils only the response, and `process` says so of the rest."""
    assert fault.processes


def test_senseless_faults() -> None:
    """An impossible combination is a ValueError at construction."""
    with pytest.raises(ValueError, match="delay"):
        Fault(delay=-1)
    with pytest.raises(ValueError, match="drip"):
        Fault(drip=float("nan"))
    with pytest.raises(ValueError, match="size"):
        Fault(size=1)
    with pytest.raises(ValueError, match="cannot be combined"):
        Fault(raw=b"", endless=True)
    with pytest.raises(ValueError, match="cannot be combined"):
        Fault(reset="after_reading", close=True)
    with pytest.raises(ValueError, match="cannot be combined"):
        Fault(endless=True, truncate=1)
    with pytest.raises(ValueError, match="process and reset"):
        Fault(reset="after_reading", process=True)
    with pytest.raises(ValueError, match="use raw"):
        Fault(status=99)
    with pytest.raises(ValueError, match="use raw"):
        Fault(headers={"a": "b\r\nc: d"})
    with pytest.raises(ValueError, match="use raw"):
        Fault(content_length=-1)
    with pytest.raises(ValueError, match="use 'before_reading', 'after_reading' or"):
        Fault(reset="sometimes")  # type: ignore[arg-type]


def test_repr_is_short() -> None:
    """The repr names what was set, and only the length of a long body."""
    assert repr(Fault(status=503, delay=1.5)) == "Fault(status=503, delay=1.5)"
    assert repr(Fault(raw=b"x" * 1000)) == "Fault(raw=<1000 bytes>)"
