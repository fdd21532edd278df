"""The client over real sockets: sending, waiting, flushing, closing, counting
(``docs/reference/guarantees.md#outcomes``)."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest

from masivo import (
    AnalyticsEvent,
    FlushResult,
    MasivoConfigError,
    MasivoError,
    MasivoValidationError,
    SendEventResult,
    Stats,
)
from masivo.emulator import Emulator, Fault

from .events import arrived, event, sent

if TYPE_CHECKING:
    from .conftest import Connect
    from .worlds import World


# ── The constructor ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("api_key", ""),
        ("api_key", "k\n1"),
        ("api_key", "clé"),
        ("api_key", 7),
        ("base_url", "http://example.com"),
        ("base_url", "ftp://localhost"),
        ("base_url", "https://user:pass@example.com"),
        ("base_url", ""),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("batch_size", True),
        ("idle_timeout", 0),
        ("idle_timeout", float("nan")),
        ("max_wait", -1),
        ("refresh_interval", 0),
        ("timeout", "10"),
        ("timeout", None),
        ("max_retries", -1),
        ("max_in_flight", 0),
        ("max_queue", 0),
        ("max_queue_bytes", 0),
        ("max_event_bytes", 5_000_000),
        ("max_batch_bytes", 1),
        ("isolate_rejected", 1),
        ("on_error", "print"),
        ("enabled", "yes"),
        ("brand_id", ""),
        ("api", {}),
        ("http_client", "httpx"),
    ],
)
def test_wrong_settings_are_refused(connect: Connect, setting: str, value: object) -> None:
    """A wrong argument is a MasivoConfigError (and ValueError) that names it."""
    with pytest.raises(MasivoConfigError) as caught:
        connect(**{setting: value})
    assert isinstance(caught.value, ValueError)
    name = "API key" if value == "" and setting == "api_key" else setting
    assert name in caught.value.message


def test_a_wrong_key_is_not_shown(connect: Connect) -> None:
    """An unusable key does not appear in its error, nor in the error's chain."""
    with pytest.raises(MasivoConfigError) as caught:
        connect(api_key="secret-kéy-4711")
    assert "4711" not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None


def test_the_key_comes_from_the_environment(
    world: World, connect: Connect, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without arguments, MASIVO_API_KEY and MASIVO_BASE_URL count."""
    monkeypatch.setenv("MASIVO_API_KEY", emulator.client_key)
    monkeypatch.setenv("MASIVO_BASE_URL", emulator.url)
    client = connect(api_key=None, base_url=None)
    client.send_analytics_event(event(1))
    assert client.flush(5) == FlushResult(1, 0)
    assert arrived(emulator) == [1]


def test_no_key_at_all_is_refused(connect: Connect) -> None:
    """Neither argument nor environment: a MasivoConfigError that names both ways."""
    with pytest.raises(MasivoConfigError, match="MASIVO_API_KEY"):
        connect(api_key=None)


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_disabled_client_sends_nothing(
    connect: Connect, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """``enabled=False`` or MASIVO_DISABLED=1: events are validated, and end at once."""
    if how == "environment":
        monkeypatch.setenv("MASIVO_DISABLED", "1")
        client = connect()
    else:
        client = connect(enabled=False)
    delivery = client.send_analytics_event(event())
    assert delivery.done()
    assert delivery.result(0) == SendEventResult(success=False, status=0, data=None)
    with pytest.raises(MasivoValidationError):
        client.send_analytics_event({"type": "X"})
    assert client.flush(1) == FlushResult(0, 0)
    client.drain(1)
    with pytest.raises(MasivoConfigError):
        client.get_token(1)
    client.close()
    assert emulator.requests == []


def test_a_disabled_client_needs_no_key(connect: Connect) -> None:
    """Where nothing is sent, no key is needed."""
    client = connect(api_key=None, enabled=False)
    assert client.send_analytics_event(event()).result(0).success is False


# ── Sending ──────────────────────────────────────────────────────────────────────────────────


def test_a_result_is_the_answer_of_the_api(connect: Connect, emulator: Emulator) -> None:
    """The result carries status and whole parsed body; ``exception`` is None then."""
    client = connect(idle_timeout=0.05)
    delivery = client.send_analytics_event(event(7))
    assert delivery.result(5) == SendEventResult(
        success=True, status=200, data={"data": {"status": "PENDING", "accepted": 1}}
    )
    assert delivery.exception(0) is None
    assert delivery.done()
    assert arrived(emulator) == [7]


def test_requests_carry_what_they_must(connect: Connect, emulator: Emulator) -> None:
    """Authorization with the key, batches with the token; both name the package."""
    client = connect()
    client.send_analytics_event(event())
    client.flush(5)
    authorize, batch = emulator.requests
    assert (authorize.method, authorize.route) == ("GET", "authorize")
    assert authorize.headers["x-api-key"] == emulator.client_key
    assert authorize.headers["x-masivo-sdk"] == "client"
    assert "authorization" not in authorize.headers
    assert (batch.method, batch.route) == ("POST", "events")
    assert batch.headers["authorization"] == f"Bearer {client.get_token(5)}"
    assert batch.headers["content-type"] == "application/json"
    assert batch.headers["idempotency-key"]
    assert "x-api-key" not in batch.headers
    for request in (authorize, batch):
        assert request.headers["user-agent"].startswith("masivo-python/")


def test_an_event_is_taken_as_it_is_at_the_call(connect: Connect, emulator: Emulator) -> None:
    """What the caller changes later changes nothing."""
    client = connect()
    tags = ["a"]
    mutable = event(1, tags=tags)
    client.send_analytics_event(mutable)
    mutable["customer_id"] = "somebody else"
    tags.append("b")
    client.flush(5)
    [received] = emulator.events
    assert (received["customer_id"], received["tags"]) == ("c-1", ["a"])


def test_events_are_stamped_with_a_past_time(connect: Connect, emulator: Emulator) -> None:
    """``issued_at`` is filled in where absent, in the past by the server's clock; a given one
    is kept."""
    client = connect()
    given = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    now = dt.datetime.now(dt.UTC)
    recent = now - dt.timedelta(hours=1)
    client.send_analytics_event(event(1))
    client.send_analytics_event(event(2, issued_at=recent))
    assert client.flush(5).delivered == 2
    stamped, kept = (str(each["issued_at"]) for each in emulator.events)
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(stamped)
    assert dt.timedelta(0) <= age < dt.timedelta(seconds=10)
    assert dt.datetime.fromisoformat(kept) == recent
    client.send_analytics_event(event(3, issued_at=given))
    assert client.flush(5).failed == 1  # more than 72 hours old: the API's to refuse


EXAMPLES: dict[object, object] = {
    str: "x",
    bool: True,
    float: 1.5,
    type(None): None,
    dt.datetime: dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1),
    list[str]: ["x"],
    Mapping[str, object]: {},
    list[Mapping[str, object]]: [{}],
}
"""A value of each type that AnalyticsEvent names."""


@pytest.mark.parametrize("field", get_type_hints(AnalyticsEvent))
def test_what_the_type_describes_is_taken(connect: Connect, emulator: Emulator, field: str) -> None:
    """Every field of AnalyticsEvent, with a value of every type that it may have, is taken by the
    client, and is what the API's schema says."""
    hint = get_type_hints(AnalyticsEvent)[field]
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    client = connect()
    deliveries = [
        client.send_analytics_event(event(0, **{field: EXAMPLES[kind]}))
        for kind in kinds
        if not (field == "issued_at" and kind is str)  # a text of a form of its own
    ]
    client.flush(10)
    assert all(delivery.result(5).success for delivery in deliveries)
    assert emulator.event_count == len(deliveries) > 0


def test_a_refused_event_raises_at_the_call(connect: Connect, emulator: Emulator) -> None:
    """Validation errors come from the call; nothing is sent, nothing is counted as accepted."""
    client = connect()
    anything: list[Any] = [{"type": "X"}, event(type="PURCHASE"), event(v=float("nan")), [1], None]
    for wrong in anything:
        with pytest.raises(MasivoValidationError):
            client.send_analytics_event(wrong)
    assert client.stats().accepted == 0
    client.close()
    assert emulator.requests == []


def test_a_full_batch_goes_out_at_once(connect: Connect, emulator: Emulator) -> None:
    """``batch_size`` events are a batch; nobody has to flush."""
    client = connect(batch_size=3)
    deliveries = [client.send_analytics_event(event(n)) for n in range(3)]
    assert [delivery.result(5).success for delivery in deliveries] == [True] * 3
    assert [sent(batch) for batch in emulator.batches] == [[0, 1, 2]]


def test_batches_are_bounded_and_in_order(connect: Connect, emulator: Emulator) -> None:
    """No batch holds more than ``batch_size``; the order of sending is the order on the wire."""
    client = connect(batch_size=10)
    for n in range(95):
        client.send_analytics_event(event(n))
    assert client.flush(5) == FlushResult(95, 0)
    assert max(len(sent(batch)) for batch in emulator.batches) == 10
    assert arrived(emulator) == list(range(95))


def test_a_batch_stays_within_its_bytes(connect: Connect, emulator: Emulator) -> None:
    """``max_batch_bytes`` bounds the whole body of a request."""
    client = connect(max_batch_bytes=2000, max_event_bytes=1000)
    for n in range(20):
        client.send_analytics_event(event(n, tags=["x" * 400]))
    assert client.flush(5) == FlushResult(20, 0)
    assert max(len(batch.body) for batch in emulator.batches) <= 2000
    assert len(emulator.batches) <= 7


def test_an_idle_buffer_is_sent(connect: Connect, emulator: Emulator) -> None:
    """``idle_timeout`` after the last event what waits goes out."""
    client = connect(idle_timeout=0.05)
    client.send_analytics_event(event(1))
    emulator.wait_for(lambda e: e.event_count == 1)


def test_a_busy_buffer_is_sent_too(connect: Connect, emulator: Emulator) -> None:
    """``max_wait`` bounds the wait of the oldest event, however many follow."""
    client = connect(idle_timeout=60, max_wait=0.1)
    client.send_analytics_event(event(0))
    emulator.wait_for(lambda e: e.event_count == 1)


def test_the_first_event_authorizes_at_once(connect: Connect, emulator: Emulator) -> None:
    """Nothing before the first event; then a token is fetched, though no batch is due."""
    client = connect()
    assert emulator.requests == []
    client.send_analytics_event(event())
    emulator.wait_for(lambda e: len(e.authorizations) == 1)
    assert emulator.batches == []


def test_waits_that_run_out_are_timeouts(connect: Connect, emulator: Emulator) -> None:
    """``result``, ``exception``, ``flush`` raise TimeoutError; the event stays on its way."""
    emulator.fail(Fault(delay=0.4), route="events")
    client = connect()
    delivery = client.send_analytics_event(event(1))
    for wait in (delivery.result, delivery.exception, client.flush):
        with pytest.raises(TimeoutError):
            wait(0.02)
    assert not delivery.done()
    assert delivery.result(5).success
    assert arrived(emulator) == [1]


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_a_wrong_timeout_is_refused(connect: Connect, timeout: Any) -> None:
    """A timeout is a number of seconds from 0 on, or None."""
    client = connect()
    delivery = client.send_analytics_event(event())
    for wait in (delivery.result, client.flush, client.get_token, client.close):
        with pytest.raises(MasivoConfigError):
            wait(timeout)


def test_errors_are_copies(connect: Connect, emulator: Emulator) -> None:
    """Every waiter gets an error of its own, equal in content, that survives pickling."""
    emulator.fail(Fault(status=403, body={"error": "Forbidden", "details": "no"}), route="events")
    client = connect()
    one, two = (client.send_analytics_event(event(n)) for n in range(2))
    assert client.flush(5) == FlushResult(0, 2)
    errors: list[MasivoError] = []
    for delivery in (one, one, two):
        with pytest.raises(MasivoError) as caught:
            delivery.result(5)
        errors.append(caught.value)
    found = one.exception(5)
    assert found is not None
    errors += [found, pickle.loads(pickle.dumps(found))]
    assert len({id(error) for error in errors}) == len(errors)
    assert {(type(e), e.message, e.status, e.details) for e in errors} == {
        (MasivoError, "Forbidden", 403, "no")
    }


# ── Counters and names ───────────────────────────────────────────────────────────────────────


def test_counters_tell_what_happened(connect: Connect, emulator: Emulator) -> None:
    """``stats`` adds up, in the middle and at the end."""
    emulator.reject = lambda e: "bad" if e.get("referral_code") == "bad" else None
    emulator.fail(Fault.unavailable(), route="events", number=1)
    client = connect(batch_size=4)
    assert client.stats() == Stats(0, 0, 0, 0, 0, 0, 0, 0, 0)
    client.get_token(5)
    for n in range(3):
        client.send_analytics_event(event(n))
    assert (client.stats().accepted, client.stats().queued) == (3, 3)
    client.send_analytics_event(event(3, referral_code="bad"))
    assert client.flush(5) == FlushResult(3, 1)
    # 4 (503), 4 (422), 2, 2 (422), 1, 1 (422)
    assert client.stats() == Stats(
        accepted=4,
        delivered=3,
        failed=1,
        overflowed=0,
        retries=1,
        requests=6,
        authorizations=1,
        queued=0,
        in_flight=0,
    )


def test_in_flight_is_counted(connect: Connect, emulator: Emulator) -> None:
    """Events whose batch is out are in flight, not queued."""
    emulator.fail(Fault(delay=0.3), route="events")
    client = connect(batch_size=2)
    for n in range(3):
        client.send_analytics_event(event(n))
    emulator.wait_for(lambda e: len(e.batches) == 1)
    stats = client.stats()
    assert (stats.in_flight, stats.queued) == (2, 1)


def test_nothing_shows_a_secret(connect: Connect, emulator: Emulator) -> None:
    """``repr`` of clients, deliveries and results has neither key nor token."""
    client = connect()
    token = client.get_token(5)
    delivery = client.send_analytics_event(event(customer_id="c-private"))
    shown = f"{client!r} {delivery!r} {client.stats()!r}"
    client.flush(5)
    shown += f" {client!r} {delivery!r} {delivery.result(0)!r}"
    client.close()
    shown += f" {client!r}"
    for secret in (emulator.client_key, token, "c-private"):
        assert secret not in shown
    assert "open" in shown
    assert "closed" in shown
