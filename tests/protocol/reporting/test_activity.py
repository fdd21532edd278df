"""The engine's activity: each value when it happens, with its numbers, and to nobody else."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import pytest

from masivo._protocol.errors import MasivoConfigError
from masivo.protocol import (
    Activity,
    Api,
    AuthorizationSent,
    BatchHalved,
    BatchSent,
    BatchSettled,
    CallWaits,
    ClientReleased,
    EventsAdopted,
    EventsFailed,
    EventsQueued,
    EventsSpooled,
    Failure,
    FlushEnded,
    Idle,
    KeyRefused,
    LongHold,
    RenewalFailed,
    RequestAbandoned,
    RequestFailed,
    ResponseReceived,
    RetryScheduled,
    TimerFired,
    TokenGranted,
    TokenRevoked,
)
from protocol.live import LiveDriver, LiveLog
from protocol.requests import header
from protocol.simulator import BASE_URL, KEY, START, TOKEN, WALL, Driver, event, in_batch
from protocol.spooled import SpoolDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import ClientOptions

AUTHORIZE_URL = f"{BASE_URL}/auth/authorize"
EVENTS_URL = f"{BASE_URL}/behavior/events/bulk"


def watched(**options: Unpack[ClientOptions]) -> Driver:
    """A driver that listens."""
    return Driver(listening=True, **options)


def seen(driver: Driver, *kinds: type[Any]) -> list[Activity]:
    """Remove and return the activity, of some kinds or all."""
    activity, driver.activity = driver.activity, []
    return [each for each in activity if not kinds or isinstance(each, kinds)]


def name(driver: Driver) -> str:
    """The name of the batch that is out."""
    return (header(driver.batch(), "idempotency-key") or "")[:8]


def jwt(life: float) -> str:
    """A token that lives this many seconds from the start of the wall clock."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": WALL + life}).encode()).decode()
    return f"head.{claims.rstrip('=')}.signature"


def test_nothing_is_reported_to_nobody() -> None:
    """While nobody listens there is no activity; each poll asks anew."""
    driver = Driver()
    in_batch(driver, 1)
    assert seen(driver) == []
    driver.listening = True
    driver.respond(503)
    assert seen(driver)
    driver.listening = False
    driver.sleep()
    assert seen(driver) == []


def test_a_good_run() -> None:
    """From the first event to the end of its client, in order."""
    driver = watched(refresh_interval=None)
    driver.send(event(1))
    assert seen(driver) == [
        EventsQueued(START, events=1, pending=1),
        AuthorizationSent(START, request=1, url=AUTHORIZE_URL, retries=0, timeout=10.0),
        Idle(START, wake_at=START + 30.0, timer="LINGER"),
    ]
    driver.now = now = START + 0.25
    driver.grant(jwt(3600.0))
    response, granted, *rest = seen(driver)
    assert response == ResponseReceived(now, request=1, batch=None, status=200, seconds=0.25)
    assert isinstance(granted, TokenGranted)
    assert granted.lifetime == pytest.approx(3599.75)
    assert granted.renewal is not None
    assert 3000 < granted.renewal < 3300
    assert rest == []  # what is waited for is still the event
    driver.flush()
    request, batch = driver.batch(), name(driver)
    assert seen(driver) == [
        CallWaits(now, call="flush", pending=1),
        BatchSent(
            now,
            request=2,
            url=EVENTS_URL,
            retries=0,
            timeout=10.0,
            batch=batch,
            events=1,
            bytes=len(request.body),
            trigger="flush",
        ),
        Idle(now, wake_at=now + granted.renewal, timer="REFRESH"),
    ]
    driver.now = now = START + 0.5
    driver.accept()
    assert seen(driver) == [
        ResponseReceived(now, request=2, batch=batch, status=200, seconds=0.25),
        BatchSettled(now, batch=batch, delivered=1, failed=0),
        FlushEnded(now, delivered=1, failed=0),
    ]
    driver.close(1.0)
    assert seen(driver) == [
        CallWaits(now, call="close", pending=0),
        ClientReleased(now, delivered=1, failed=0),
        Idle(now, wake_at=None, timer=None),
    ]


@pytest.mark.parametrize(
    ("trigger", "options", "act"),
    [
        ("batch_size", {"batch_size": 2}, Driver.poll),
        ("max_batch_bytes", {"max_batch_bytes": 150, "max_event_bytes": 150}, Driver.poll),
        ("idle_timeout", {}, partial(Driver.advance, seconds=30.0)),
        ("max_wait", {"max_wait": 5.0}, partial(Driver.advance, seconds=5.0)),
        ("flush", {}, Driver.flush),
        ("close", {}, partial(Driver.close, timeout=5.0)),
        ("max_queue", {"max_queue": 2}, Driver.poll),
    ],
)
def test_a_batch_names_its_trigger(
    trigger: str, options: ClientOptions, act: Callable[[Driver], object]
) -> None:
    """By the name of its setting, or of the call."""
    driver = watched(**options)
    driver.sign_in()
    for n in range(2):
        driver.buffer.send(event(n))
    act(driver)
    (sent,) = seen(driver, BatchSent)
    assert isinstance(sent, BatchSent)
    assert sent.trigger == trigger


def test_waiting_for_room() -> None:
    """A drain waits, and pushes a batch out; an event too many does, too."""
    driver = watched(max_queue=4, batch_size=4, max_in_flight=2)
    driver.sign_in()
    driver.send_numbers(1, 2, 3)
    seen(driver)
    driver.buffer.drain()
    driver.poll()
    waits, sent = seen(driver, CallWaits, BatchSent)
    assert waits == CallWaits(START, call="drain", pending=3)
    assert isinstance(sent, BatchSent)
    assert (sent.events, sent.trigger) == (3, "drain")
    for n in range(2):
        driver.buffer.send(event(n, f"c{n}"))
    driver.poll()
    (sent,) = seen(driver, BatchSent)
    assert isinstance(sent, BatchSent)
    assert sent.trigger == "a full buffer"


@pytest.mark.parametrize("make", [Driver, SpoolDriver])
def test_events_that_came_in_together_are_reported_together(make: type[Driver]) -> None:
    """With all that are pending."""
    driver = make(listening=True)
    driver.send_numbers(1)
    driver.send_numbers(2, 3)
    assert seen(driver, EventsQueued) == [
        EventsQueued(START, events=1, pending=1),
        EventsQueued(START, events=2, pending=3),
    ]


def test_a_retry() -> None:
    """The wait of a backoff, and of a ``Retry-After``; the retry by its number; a long hold."""
    driver = watched(refresh_interval=None)
    in_batch(driver, 1)
    batch = name(driver)
    seen(driver)
    driver.dice.fix(0.5)
    driver.respond(503)
    assert seen(driver) == [
        ResponseReceived(START, request=2, batch=batch, status=503, seconds=0.0),
        RetryScheduled(START, batch=batch, retries=1, wait=0.25, why="backoff"),
        Idle(START, wake_at=START + 0.25, timer="RETRY"),
    ]
    driver.sleep()
    fired, sent, _ = seen(driver)
    assert fired == TimerFired(now := driver.now, timer="RETRY")
    assert isinstance(sent, BatchSent)
    assert (sent.request, sent.retries, sent.batch) == (3, 1, batch)
    driver.respond(429, headers={"retry-after": "7"})
    assert seen(driver, RetryScheduled) == [
        RetryScheduled(now, batch=batch, retries=2, wait=7.0, why="Retry-After")
    ]
    driver.sleep()
    driver.respond(429, headers={"retry-after": "1000"})
    now = driver.now
    assert seen(driver, LongHold, BatchSettled, EventsFailed) == [
        LongHold(now, wait=1000.0),
        BatchSettled(now, batch=batch, delivered=0, failed=1),
        EventsFailed(now, events=1, error="MasivoError", status=429),
    ]


def test_a_wait_of_nothing_is_a_backoff() -> None:
    """With a draw of 0 there is nothing to wait for; it is not the last try for that."""
    driver = watched()
    in_batch(driver, 1)
    batch = name(driver)
    driver.dice.always = 0.0
    driver.respond(503)
    assert seen(driver, RetryScheduled) == [
        RetryScheduled(START, batch=batch, retries=1, wait=0.0, why="backoff")
    ]


def test_the_last_try_of_a_client_that_closes() -> None:
    """It waits for nothing, and says why."""
    driver = watched()
    in_batch(driver, 1)
    batch = name(driver)
    driver.buffer.close(5.0)
    driver.respond(503)
    assert seen(driver, RetryScheduled) == [
        RetryScheduled(START, batch=batch, retries=1, wait=0.0, why="last try")
    ]


def test_a_retry_of_an_authorization_names_no_batch() -> None:
    """It belongs to none."""
    driver = watched()
    driver.send_numbers(1)
    driver.dice.fix(0.5)
    driver.break_off()
    assert seen(driver, RequestFailed, RetryScheduled) == [
        RequestFailed(START, request=1, batch=None, status=None, seconds=0.0, causes=(), sent=True),
        RetryScheduled(START, batch=None, retries=1, wait=0.25, why="backoff"),
    ]


def test_a_request_that_fails_names_the_classes_of_its_errors() -> None:
    """Whether it was sent, and the status that had arrived: never the texts, which may quote
    anything."""
    driver = watched()
    in_batch(driver, 1)
    batch = name(driver)
    cause = OSError(f"private {KEY}")
    cause.__cause__ = ConnectionResetError("private")
    driver.now += 2.0
    driver.break_off("private", cause=cause, sent=False)
    assert seen(driver, RequestFailed) == [
        RequestFailed(
            START + 2.0,
            request=2,
            batch=batch,
            status=None,
            seconds=2.0,
            causes=("OSError", "ConnectionResetError"),
            sent=False,
        )
    ]
    driver.sleep()
    driver.break_off("private", status=200)
    failed, ended = seen(driver, RequestFailed, EventsFailed)
    assert isinstance(failed, RequestFailed)
    assert (failed.status, failed.causes, failed.sent) == (200, (), True)
    assert ended == EventsFailed(driver.now, events=1, error="MasivoNetworkError", status=200)


def test_a_transport_that_cannot_be_made_names_its_error() -> None:
    """``Failure.fatal`` stands for the cause."""
    driver = watched()
    in_batch(driver, 1)
    fatal = MasivoConfigError("private")
    driver.engine.hand_back(driver.out.pop().id, Failure("private", sent=False, fatal=fatal))
    driver.poll()
    (failed,) = seen(driver, RequestFailed)
    assert isinstance(failed, RequestFailed)
    assert (failed.causes, failed.sent) == (("MasivoConfigError",), False)


def test_a_rejected_batch_is_halved() -> None:
    """With the size of its halves; each is sent as a batch of its own name, and settled as one."""
    driver = watched()
    in_batch(driver, 1, 2, 3)
    whole = name(driver)
    driver.respond(422)
    halved, half = seen(driver, BatchHalved, BatchSent)[-2:]
    assert halved == BatchHalved(START, batch=whole, first=1, second=2)
    assert isinstance(half, BatchSent)
    assert (half.events, half.trigger, half.batch) == (1, "halving", name(driver))
    assert half.batch != whole
    driver.respond(422)
    second = name(driver)
    driver.accept()
    assert seen(driver, BatchSettled) == [
        BatchSettled(START, batch=half.batch, delivered=0, failed=1),
        BatchSettled(START, batch=second, delivered=2, failed=0),
    ]


def test_a_request_whose_client_is_gone_is_abandoned() -> None:
    """A destroyed client's request, and that of the last client for a token."""
    driver = watched()
    in_batch(driver, 1)
    batch = name(driver)
    seen(driver)
    driver.buffer.destroy()
    driver.poll()
    assert seen(driver) == [
        EventsFailed(START, events=1, error="MasivoClosedError", status=None),
        FlushEnded(START, delivered=0, failed=1),
        BatchSettled(START, batch=batch, delivered=0, failed=1),
        RequestAbandoned(START, request=2),
        ClientReleased(START, delivered=0, failed=1),
        Idle(START, wake_at=None, timer=None),
    ]
    driver = watched()
    driver.send_numbers(1)
    driver.buffer.destroy()
    driver.poll()
    assert seen(driver, RequestAbandoned) == [RequestAbandoned(START, request=1)]


# ── The token ────────────────────────────────────────────────────────────────────────────────


def test_a_token_that_is_thrown_away() -> None:
    """After a 401, and when it has expired, with the reason."""
    driver = watched(refresh_interval=None)
    in_batch(driver, 1)
    driver.respond(401)
    revoked = seen(driver, TokenRevoked)
    assert revoked == [TokenRevoked(START, why="a request with it got a 401")]
    driver.grant(jwt(5.0))
    driver.accept()
    driver.now += 6.0
    driver.authorizer._authorization = None  # as if no renewal had come of it
    driver.send(event(2))
    driver.flush()
    assert seen(driver, TokenRevoked) == [TokenRevoked(driver.now, why="it has expired")]


def test_a_token_that_no_request_tried() -> None:
    """If it came while a batch got its second 401 in a row, it is discarded with the key's rest."""
    driver = watched(batch_size=1, refresh_interval=10.0)
    driver.dice.always = 0.0
    in_batch(driver, 1)
    driver.respond(401)
    driver.grant()
    batch = driver.batch()
    driver.sleep()
    driver.grant()
    seen(driver)
    driver.respond(401, to=batch)
    assert seen(driver, TokenRevoked) == [
        TokenRevoked(driver.now, why="the API takes no token of this key")
    ]


def test_a_renewal_at_the_end_of_a_close_is_due_once() -> None:
    """The client that goes at that moment does not count any more, and sets no second timer."""
    driver = watched(refresh_interval=10.0)
    driver.dice.always = 1.0
    other = driver.client()
    driver.send(event(1), buffer=other)
    driver.close(10.0, buffer=other)
    driver.grant()
    driver.sleep()
    assert [each for each in seen(driver) if each == TimerFired(driver.now, timer="REFRESH")] == [
        TimerFired(START + 10.0, timer="REFRESH")
    ]
    assert other.closed


def test_a_token_that_does_not_tell_its_lifetime() -> None:
    """It is renewed by the interval, or never."""
    driver = watched(refresh_interval=None)
    driver.sign_in()
    assert seen(driver, TokenGranted) == [TokenGranted(START, lifetime=None, renewal=None)]
    driver = watched(refresh_interval=100.0)
    driver.dice.always = 1.0
    driver.sign_in()
    assert seen(driver, TokenGranted) == [TokenGranted(START, lifetime=None, renewal=100.0)]


def test_a_renewal_that_fails() -> None:
    """With the time until the next one is tried."""
    driver = watched(refresh_interval=100.0)
    driver.sign_in()
    driver.sleep()
    now = driver.now
    assert TimerFired(now, timer="REFRESH") in seen(driver)
    driver.dice.fix(1.0)
    driver.respond(500)
    assert seen(driver, RenewalFailed) == [RenewalFailed(now, wait=0.5)]


def test_a_key_that_is_refused() -> None:
    """With the time for which events fail at once."""
    driver = watched()
    driver.send(event(1))
    driver.respond(401, {"error": "private"})
    assert seen(driver, KeyRefused, EventsFailed) == [
        KeyRefused(START, error="MasivoAuthError", status=401, wait=30.0),
        EventsFailed(START, events=1, error="MasivoAuthError", status=401),
    ]


# ── Time ─────────────────────────────────────────────────────────────────────────────────────


def test_every_timer_is_named() -> None:
    """What is waited for, and that it has come: suppressed warnings, the end of a close."""
    driver = watched(refresh_interval=None, timeout=60.0, max_retries=0)
    driver.sign_in()
    for number in range(2):
        driver.buffer.send(event(number))
        driver.flush()
        driver.respond(418)
        driver.settled.clear()
        driver.poll()
    assert Idle(START, wake_at=START + 5.0, timer="LOG") in seen(driver)
    driver.sleep()
    assert TimerFired(driver.now, timer="LOG") in seen(driver)
    in_batch(driver, 5)
    driver.close(5.0)
    assert Idle(driver.now, wake_at=driver.now + 5.0, timer="CLOSE") in seen(driver)
    driver.sleep()
    assert TimerFired(driver.now, timer="CLOSE") in seen(driver)


def test_idleness_is_reported_once() -> None:
    """Not for every poll, but where the wake-up has moved."""
    driver = watched(refresh_interval=None)
    driver.sign_in()
    driver.send_numbers(1)
    seen(driver)
    driver.advance(1.0)
    assert seen(driver) == []
    driver.send_numbers(2)
    assert seen(driver, Idle) == [Idle(START + 1.0, wake_at=START + 31.0, timer="LINGER")]


# ── What is not in it ────────────────────────────────────────────────────────────────────────


def test_no_activity_holds_a_secret_or_an_event() -> None:
    """Not even where somebody put the key into a path, and the server says everything again."""
    api = Api(authorize_path=f"/auth/{KEY}", events_path=f"/events?key={KEY}")
    driver = watched(api=api, max_retries=0)
    in_batch(driver, 1)
    driver.respond(401, {"error": f"private {KEY}"})
    driver.grant()
    driver.break_off(f"private {KEY} {TOKEN}", cause=OSError(f"private {KEY}"))
    text = repr(seen(driver))
    assert f"{BASE_URL}/auth/[redacted]" in text
    assert f"{BASE_URL}/events?key=[redacted]" in text
    for hidden in (KEY, TOKEN, "private", "customer_id"):
        assert hidden not in text


def test_what_a_spool_keeps_is_reported() -> None:
    """The events whose deliveries end before them, with the class of the error; and those that a
    later process takes over."""
    driver = SpoolDriver(listening=True, max_retries=0)
    driver.sign_in()
    driver.send(event(1), event(2))
    driver.flush()
    driver.respond(503)
    assert seen(driver, EventsSpooled) == [EventsSpooled(START, 2, "MasivoError", 503)]
    driver.process.kill()
    after = SpoolDriver(driver.disk, listening=True)
    after.flush()
    assert seen(after, EventsAdopted) == [EventsAdopted(START, 2)]


def test_a_client_with_a_store_reports_as_one_without() -> None:
    """The events that were queued, and each batch with its trigger; events of a live log are not
    adopted from an earlier process."""
    driver = SpoolDriver(listening=True, max_retries=0)
    driver.sign_in()
    driver.send(event(1), event(2))
    driver.flush()
    assert seen(driver, EventsQueued) == [EventsQueued(START, 2, 2)]
    driver.send(event(3))
    driver.process.kill()
    after = SpoolDriver(driver.disk, listening=True)
    after.sign_in()
    batches = [each for each in after.activity if isinstance(each, BatchSent)]
    after.accept()
    batches += [each for each in after.activity if isinstance(each, BatchSent)][len(batches) :]
    assert [(each.events, each.trigger) for each in batches] == [(2, "spool"), (1, "spool")]
    adopted = [each for each in after.activity if isinstance(each, EventsAdopted)]
    assert [each.events for each in adopted] == [2, 1]
    live = LiveDriver(LiveLog(), batch_size=1)
    live.listening = True
    live.put(1)
    live.look()
    assert seen(live, EventsAdopted) == []
    assert live.buffer.stats().adopted == 1


def test_every_kind_of_activity_is_tested_here() -> None:
    """A new kind needs a test in this file."""
    assert {kind.__name__ for kind in Activity.__subclasses__()} <= set(globals())
