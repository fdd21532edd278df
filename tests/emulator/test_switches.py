"""The switches, and the faults that requests get from them."""

from dataclasses import replace
from typing import get_args

import pytest

from masivo.emulator import Fault, Json
from masivo.emulator.switches import NO_SWITCHES, Misbehaviour, Switches


def test_nothing_is_on_at_first() -> None:
    """Without a switch no request suffers."""
    assert NO_SWITCHES.fault("events") is None
    assert Switches(scope="all").fault("authorize") is None


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        ("401", Fault(status=401)),
        ("500", Fault(status=500)),
        ("429", Fault(status=429, headers={"Retry-After": "8"})),
        ("reset", Fault(reset="after_reading")),
    ],
)
def test_each_response_is_a_fault(response: Misbehaviour, fault: Fault) -> None:
    """Each response is a fault; a Retry-After is a whole number, rounded up."""
    assert Switches(response=response, retry_after=7.2).fault("events") == fault


def test_the_quota_has_the_apis_headers() -> None:
    """A quota used up is a 429 that says how long the day still lasts."""
    fault = Switches(response="quota").fault("events")
    assert fault is not None
    assert fault.status == 429
    assert fault.headers is not None
    assert fault.headers["X-RateLimit-Remaining"] == "0"
    assert fault.headers["Retry-After"] == fault.headers["X-RateLimit-Reset"] == "86400"


@pytest.mark.parametrize("response", [None, *get_args(Misbehaviour)])
def test_latency_goes_with_every_response(response: Misbehaviour | None) -> None:
    """Latency alone leaves the API's response as it is; with a response it delays that."""
    delayed = Switches(latency=2, response=response).fault("events")
    assert delayed is not None
    assert delayed.delay == 2
    at_once = Switches(response=response).fault("events")
    assert at_once == (replace(delayed, delay=0) if response else None)


def test_the_scope_says_who_suffers() -> None:
    """Batches and single events, authorizations, or everything."""
    routes = ("events", "event", "authorize", "/elsewhere")

    def suffering(switches: Switches) -> list[str]:
        return [route for route in routes if switches.fault(route)]

    assert suffering(Switches(response="500")) == ["events", "event"]
    assert suffering(Switches(response="500", scope="authorize")) == ["authorize"]
    assert suffering(Switches(response="500", scope="all")) == list(routes)


def test_parse() -> None:
    """The fields of a JSON object; what is left out is off."""
    assert Switches.parse({}) == NO_SWITCHES
    document: Json = {"latency": 1, "response": "429", "retry_after": 60, "scope": "all"}
    assert Switches.parse(document) == Switches(1, "429", 60, "all")


def test_the_bounds_are_included() -> None:
    """From no time at all to a day."""
    assert Switches.parse({"latency": 0, "retry_after": 0}).retry_after == 0
    assert Switches.parse({"latency": 86_400, "retry_after": 86_400}).latency == 86_400


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "object"),
        ({"latency": 86_400.1}, "latency must be a number of seconds from 0 to 86400"),
        ({"latency": -1}, "latency"),
        ({"latency": float("nan")}, "latency"),
        ({"latency": float("inf")}, "latency"),
        ({"latency": True}, "latency"),
        ({"latency": "2"}, "latency"),
        ({"retry_after": None}, "retry_after"),
        ({"response": "418"}, "response"),
        ({"response": [1]}, "response"),
        ({"scope": {}}, "scope must be one of all, events, authorize"),
        ({"delay": 1}, "delay"),
    ],
)
def test_what_cannot_be_carried_out(document: Json, said: str) -> None:
    """A value that makes no sense is an error that names it."""
    with pytest.raises((TypeError, ValueError), match=said):
        Switches.parse(document)
