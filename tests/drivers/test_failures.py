"""Error responses of the API: statuses, 401, Retry-After
(``docs/reference/guarantees.md#retries``; ``docs/reference/guarantees.md#authorization``)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from masivo import (
    FlushResult,
    MasivoAuthError,
    MasivoError,
    MasivoNetworkError,
    MasivoServerKeyError,
)
from masivo.emulator import Emulator, Fault

from .events import arrived, event, sent, statuses, until

if TYPE_CHECKING:
    from .conftest import Connect


def reject_bad(accepted: dict[str, Any]) -> str | None:
    """What the emulator finds wrong with an event that says so itself."""
    return "bad" if accepted.get("referral_code") == "bad" else None


# ── Repeats ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("route", ["authorize", "events"])
def test_these_are_repeated(connect: Connect, emulator: Emulator, status: int, route: str) -> None:
    """408, 429 and the usual 5xx are repeated after a wait; the event arrives once."""
    emulator.fail(Fault(status=status), route=route)
    client = connect()
    client.send_analytics_event(event(1))
    assert client.flush(10) == FlushResult(1, 0)
    assert statuses([each for each in emulator.requests if each.route == route]) == [status, 200]
    assert arrived(emulator) == [1]


def test_repeats_run_out(connect: Connect, emulator: Emulator) -> None:
    """After ``max_retries`` repeats the batch fails with the last answer; the next one is tried."""
    emulator.fail(Fault(status=500), route="events", number=[1, 2])
    last = Fault(status=503, body={"error": "Down", "details": "for now"})
    emulator.fail(last, route="events", number=3)
    client = connect(max_retries=2)
    delivery = client.send_analytics_event(event(1))
    assert client.flush(10).failed == 1
    error = delivery.exception(0)
    assert type(error) is MasivoError
    assert (error.message, error.status, error.details) == ("Down", 503, "for now")
    assert client.stats().retries == 2
    client.send_analytics_event(event(2))
    assert client.flush(10).delivered == 1


def test_authorization_repeats_run_out(connect: Connect, emulator: Emulator) -> None:
    """When the repeats of an authorization run out, what waits fails with the last error; the
    next event begins anew."""
    emulator.fail(Fault(status=500), route="authorize", times=2)
    client = connect(max_retries=1)
    delivery = client.send_analytics_event(event(1))
    error = delivery.exception(10)
    assert isinstance(error, MasivoAuthError)
    assert error.status == 500
    client.send_analytics_event(event(2))
    assert client.flush(10).delivered == 1


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 413, 418, 422, 501, 599])
def test_these_are_not_repeated(connect: Connect, emulator: Emulator, status: int) -> None:
    """Every other error status ends the event at once, with what the answer says."""
    body = {"error": "No way", "details": {"because": 1}}
    emulator.fail(Fault(status=status, body=body), route="events")
    client = connect()
    delivery = client.send_analytics_event(event(1))
    assert client.flush(10).failed == 1
    error = delivery.exception(0)
    assert type(error) is MasivoError
    assert error.message.startswith("No way")
    assert (error.status, error.details) == (status, {"because": 1})
    assert len(emulator.batches) == 1


@pytest.mark.parametrize(
    ("body", "message", "details"),
    [
        ({"message": "M", "details": "D"}, "M", "D"),
        ({"error": "E", "message": "M"}, "E", {"error": "E", "message": "M"}),
        ("plain text", None, "plain text"),
        (b"", None, None),
        ({"other": 1}, None, {"other": 1}),
        ([1], None, [1]),
    ],
)
def test_what_an_error_says(
    connect: Connect, emulator: Emulator, body: Any, message: str | None, details: object
) -> None:
    """``message``: the body's error, else its message, else ours; ``details``: the body's, else
    the whole body, else its text."""
    emulator.fail(Fault(status=403, body=body), route="events")
    client = connect(batch_size=1)
    error = client.send_analytics_event(event(1)).exception(10)
    assert error is not None
    assert error.message
    if message is not None:
        assert error.message == message
    assert error.details == details


# ── 401 ──────────────────────────────────────────────────────────────────────────────────────


def test_a_revoked_token_is_replaced_once(connect: Connect, emulator: Emulator) -> None:
    """A 401 throws the token away; the request is repeated once, with a fresh one."""
    client = connect()
    client.send_analytics_event(event(1))
    client.flush(5)
    emulator.revoke_tokens()
    client.send_analytics_event(event(2))
    assert client.flush(5) == FlushResult(1, 0)
    assert statuses(emulator.batches) == [200, 401, 200]
    assert len(emulator.authorizations) == 2
    first, second = emulator.batches[1:]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.headers["authorization"] != second.headers["authorization"]
    assert arrived(emulator) == [1, 2]


def test_a_second_401_ends_the_batch(connect: Connect, emulator: Emulator) -> None:
    """With a fresh token refused too, it is a MasivoAuthError; ``max_retries`` has no say."""
    emulator.fail(Fault(status=401), route="events", times=2)
    client = connect(max_retries=0)
    delivery = client.send_analytics_event(event(1))
    assert client.flush(5).failed == 1
    error = delivery.exception(0)
    assert isinstance(error, MasivoAuthError)
    assert error.status == 401
    assert len(emulator.batches) == 2
    client.send_analytics_event(event(2))
    assert client.flush(5).delivered == 1


def test_a_401_spares_a_newer_token(connect: Connect, emulator: Emulator) -> None:
    """Several requests with one dead token cost one authorization, however late their 401s."""
    client = connect(max_in_flight=4, batch_size=1)
    client.get_token(5)
    emulator.revoke_tokens()
    emulator.fail(Fault(delay=0.2), route="events", number=4)
    for n in range(4):
        client.send_analytics_event(event(n, customer_id=f"c-{n}"))
    assert client.flush(10) == FlushResult(4, 0)
    assert len(emulator.authorizations) == 2
    assert len(emulator.batches) == 8


def test_an_expired_token_is_renewed_in_time(connect: Connect) -> None:
    """A token that tells when it expires is renewed before, in the background."""
    with Emulator(token_ttl=0.6) as emulator:
        client = connect(api_key=emulator.client_key, base_url=emulator.url, refresh_interval=None)
        client.get_token(5)
        emulator.wait_for(lambda e: len(e.authorizations) >= 3, timeout=10)
        client.send_analytics_event(event(1))
        assert client.flush(5) == FlushResult(1, 0)
        client.destroy()


def test_a_failed_refresh_keeps_the_token(connect: Connect, emulator: Emulator) -> None:
    """Where a background refresh fails, refused even, the token that still works is used on."""
    client = connect(refresh_interval=0.1)
    client.get_token(5)
    emulator.fail(Fault(status=403), route="authorize", times=None)
    emulator.wait_for(lambda e: len(e.authorizations) >= 3, timeout=10)
    client.send_analytics_event(event(1))
    assert client.flush(5) == FlushResult(1, 0)


def test_a_hanging_refresh_holds_nothing_up(connect: Connect, emulator: Emulator) -> None:
    """While a background refresh hangs, batches go out with the token that still works."""
    client = connect(refresh_interval=0.1)
    client.get_token(5)
    emulator.fail(Fault(delay=30), route="authorize", times=None)
    emulator.wait_for(lambda e: len(e.authorizations) == 2)
    client.send_analytics_event(event(1))
    assert client.flush(3) == FlushResult(1, 0)


# ── Refused authorization ────────────────────────────────────────────────────────────────────


def test_a_server_key(connect: Connect, emulator: Emulator) -> None:
    """A SERVER key is a MasivoServerKeyError whose message says what to do."""
    client = connect(api_key=emulator.server_key)
    delivery = client.send_analytics_event(event(1))
    error = delivery.exception(5)
    assert isinstance(error, MasivoServerKeyError)
    assert "CLIENT key" in error.message
    assert emulator.server_key not in error.message


def test_a_refusal_ends_everything_at_once(connect: Connect, emulator: Emulator) -> None:
    """An invalid key ends every buffered event, and for a while new ones fail without a request."""
    client = connect(api_key="not-the-key-of-anybody")
    deliveries = [client.send_analytics_event(event(n)) for n in range(5)]
    for delivery in deliveries:
        assert isinstance(delivery.exception(5), MasivoAuthError)
    late = client.send_analytics_event(event(9))
    assert isinstance(late.exception(5), MasivoAuthError)
    with pytest.raises(MasivoAuthError):
        client.get_token(5)
    client.close()
    assert len(emulator.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("route", ["authorize", "events"])
def test_redirects_are_never_followed(
    connect: Connect, emulator: Emulator, status: int, route: str
) -> None:
    """Neither key nor token goes where a redirect points, on the same host or another."""
    with Emulator() as elsewhere:
        target = elsewhere.url + "/auth/authorize" if status != 302 else "/elsewhere"
        emulator.fail(Fault(status=status, headers={"Location": target}), route=route)
        client = connect()
        delivery = client.send_analytics_event(event(1))
        assert client.flush(5).failed == 1
        error = delivery.exception(0)
        assert error is not None
        assert isinstance(error, MasivoAuthError) == (route == "authorize")
        assert error.status == status
        assert elsewhere.requests == []
    assert {each.route for each in emulator.requests} <= {"authorize", "events"}


def test_key_and_token_go_to_their_places_only(connect: Connect, emulator: Emulator) -> None:
    """The key goes to the authorization alone, the token to batches alone; cookies nowhere new."""
    emulator.fail(Fault(headers={"Set-Cookie": "a=b"}), route="authorize")
    client = connect(batch_size=1)
    for n in range(3):
        client.send_analytics_event(event(n)).result(5)
    token = client.get_token(5)
    for request in emulator.requests:
        everything = f"{request.path} {request.headers} {request.body!r}"
        assert (emulator.client_key in everything) == (request.route == "authorize")
        assert (token in everything) == (request.route == "events")


# ── Retry-After ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("route", ["authorize", "events"])
def test_retry_after_holds_everything_back(
    connect: Connect, emulator: Emulator, route: str
) -> None:
    """A 429 with Retry-After holds back every request of the key, those of other clients too."""
    emulator.fail(Fault.rate_limited(retry_after=1), route=route)
    one, two = connect(batch_size=1), connect(batch_size=1)
    one.send_analytics_event(event(1))
    emulator.wait_for(lambda e: any(each.status == 429 for each in e.requests))
    until(lambda: route == "authorize" or one.stats().retries == 1)  # the answer has arrived
    two.send_analytics_event(event(2))
    assert (one.flush(10).delivered, two.flush(10).delivered) == (1, 1)
    refused = next(each for each in emulator.requests if each.status == 429)
    assert refused.responded_at is not None
    later = emulator.requests[emulator.requests.index(refused) + 1 :]
    assert later
    assert all(each.received_at - refused.responded_at > 0.95 for each in later)


def test_too_long_a_retry_after_is_an_error(connect: Connect, emulator: Emulator) -> None:
    """Past 300 s nobody waits: batches fail at once with that error, and nothing is sent."""
    emulator.fail(Fault.rate_limited(retry_after=3600), route="events")
    client = connect(batch_size=1)
    began = time.monotonic()
    for n in range(3):
        error = client.send_analytics_event(event(n)).exception(5)
        assert error is not None
        assert error.status == 429
    assert time.monotonic() - began < 4
    assert len(emulator.batches) == 1


# ── Bad events in a batch ────────────────────────────────────────────────────────────────────


def test_only_the_bad_events_fail(connect: Connect, emulator: Emulator) -> None:
    """A refused batch is halved until the events at fault are alone; the order stays."""
    emulator.reject = reject_bad
    client = connect(batch_size=16)
    deliveries = [
        client.send_analytics_event(event(n, referral_code="bad" if n in (3, 11) else "ok"))
        for n in range(16)
    ]
    assert client.flush(10) == FlushResult(14, 2)
    failed = [n for n, delivery in enumerate(deliveries) if delivery.exception(0) is not None]
    assert failed == [3, 11]
    assert arrived(emulator) == [n for n in range(16) if n not in failed]
    keys = [batch.headers["idempotency-key"] for batch in emulator.batches]
    assert len(set(keys)) == len(keys)


def test_isolation_can_be_turned_off(connect: Connect, emulator: Emulator) -> None:
    """Without ``isolate_rejected`` the batch shares the answer."""
    emulator.reject = reject_bad
    client = connect(isolate_rejected=False)
    for n in range(4):
        client.send_analytics_event(event(n, referral_code="bad" if n == 0 else "ok"))
    assert client.flush(10) == FlushResult(0, 4)
    assert len(emulator.batches) == 1


def test_later_events_wait_behind_a_repeat(connect: Connect, emulator: Emulator) -> None:
    """Order is kept across repeats: what is sent meanwhile arrives after."""
    emulator.fail(Fault(status=503), route="events", number=[1, 2])
    client = connect(batch_size=1)
    for n in range(5):
        client.send_analytics_event(event(n))
    assert client.flush(10) == FlushResult(5, 0)
    assert [sent(batch) for batch in emulator.batches] == [[0], [0], [0], [1], [2], [3], [4]]


def test_every_accepted_event_has_one_outcome(connect: Connect, emulator: Emulator) -> None:
    """Through a storm of all kinds of faults: each delivery ends, and the counters add up."""
    kinds = [
        Fault(status=503),
        Fault(reset="after_reading"),
        Fault.lost_response(),
        Fault(status=401),
        Fault(status=422),
        Fault(truncate=3),
        Fault.garbage(),
        Fault.html(),
        Fault(status=403),
        Fault(delay=1),
    ]
    emulator.on_request = lambda request: (
        kinds[request.number % 17] if request.number % 17 < len(kinds) else None
    )
    emulator.reject = reject_bad
    client = connect(batch_size=10, max_retries=1, timeout=0.5, max_in_flight=3)
    deliveries = [
        client.send_analytics_event(
            event(n, customer_id=f"c-{n % 7}", referral_code="bad" if n % 13 == 0 else "ok")
        )
        for n in range(200)
    ]
    told = client.flush(30)
    assert told.delivered + told.failed == 200
    outcomes = [delivery.exception(0) for delivery in deliveries]
    assert told.failed == len([each for each in outcomes if each is not None])
    stats = client.stats()
    assert (stats.accepted, stats.queued, stats.in_flight) == (200, 0, 0)
    assert (stats.delivered, stats.failed) == (told.delivered, told.failed)
    assert any(isinstance(each, MasivoNetworkError) for each in outcomes)
