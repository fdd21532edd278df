"""``issued_at`` is stamped from the server's clock (``docs/reference/guarantees.md#issued_at``)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import formatdate

import pytest

from masivo.protocol import Api, BatchSent, Request

from .requests import header, payload
from .simulator import START, WALL, Driver, error_of, event


def stamps(request: Request) -> list[str]:
    """The ``issued_at`` of a batch's events, in order."""
    return [each["issued_at"] for each in payload(request)]


def seconds(stamp: str) -> float:
    """A stamp as seconds since the epoch."""
    assert len(stamp) == len("2026-01-01T00:00:00.000Z")
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def date(moment: float) -> dict[str, str]:
    """The headers of a response that the server gives at ``moment``: cut to the second."""
    return {"date": formatdate(moment // 1, usegmt=True)}


def test_a_stamp_is_the_servers_time_of_the_send() -> None:
    """The stamp is the ``Date`` of the authorization's response, plus the time since it arrived,
    less the event's age: whatever the local clock says."""
    driver = Driver()
    driver.wall = 0.0
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    driver.now = START + 10.0
    driver.send(event(1))
    driver.now = START + 11.25
    driver.send(event(2))
    driver.now = START + 20.0
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-01T00:00:10.000Z", "2026-01-01T00:00:11.250Z"]


def test_each_event_of_a_batch_has_its_own_millisecond() -> None:
    """A stamp is cut to the millisecond: what was sent in the next one, though less than a
    millisecond later or at its very beginning, has the next one's."""
    driver = Driver()
    driver.sign_in(headers=date(WALL))
    for after in (0.124, 0.1245, 0.12499, 0.125, 0.1259, 0.1261, 0.9999, 1.0, 1.0):
        driver.now = START + after
        driver.send(event())
    driver.flush()
    cut = ("00.124", "00.124", "00.124", "00.125", "00.125", "00.126", "00.999", "01.000", "01.000")
    assert stamps(driver.batch()) == [f"2026-01-01T00:00:{each}Z" for each in cut]


def test_events_before_the_first_response_are_stamped_by_their_age() -> None:
    """An event sent before the token came is stamped with its own time, not the batch's."""
    driver = Driver()
    driver.send(event(1))
    driver.now = START + 5.5
    driver.flush()
    driver.grant(headers={"date": "Thu, 01 Jan 2026 00:01:00 GMT"})
    assert stamps(driver.batch()) == ["2026-01-01T00:00:54.500Z"]


def test_without_a_date_the_local_clock_less_2_seconds_serves() -> None:
    """Without a ``Date`` header (or with one that is none) the local clock minus 2 s serves."""
    for headers in ({}, {"date": "yesterday"}):
        driver = Driver()
        driver.sign_in(headers=headers)
        driver.send(event(1))
        driver.advance(3.0)
        driver.flush()
        assert stamps(driver.batch()) == ["2025-12-31T23:59:58.000Z"]


def test_the_latest_lower_bound_counts() -> None:
    """Of several responses the one that proves the server's time latest counts; one that arrived
    late in its second, or slowly, does not set the clock back."""
    driver = Driver(refresh_interval=10.0)
    driver.dice.always = 1.0
    driver.sign_in(headers=date(WALL + 0.5))
    driver.sleep()
    driver.grant(headers=date(WALL + 10.9))  # bound: WALL - 0 again
    driver.sleep()
    driver.now += 0.75
    driver.grant(headers=date(WALL + 21.25))  # proves 0.25 s more
    driver.send(event(1))
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-01T00:00:21.000Z"]
    driver.accept()
    driver.sleep()
    driver.now += 0.5
    driver.grant(headers=date(WALL + 31.0))  # slow: proves less
    driver.send(event(2))
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-01T00:00:31.500Z"]


def test_a_server_clock_that_was_set_back_is_followed() -> None:
    """A ``Date`` more than a minute below the estimate counts, and stamps decrease, once."""
    driver = Driver()
    driver.sign_in(headers=date(WALL + 3600.0))
    driver.send(event(1))
    driver.flush()
    driver.respond(200, headers=date(WALL))
    driver.send(event(2))
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-01T00:00:00.000Z"]
    driver.respond(200, headers=date(WALL - 30.0))
    driver.send(event(3))
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-01T00:00:00.000Z"]


@pytest.mark.parametrize("own", [{}, {"issued_at": None}], ids=["stamped", "its own"])
def test_stamps_do_not_decrease_while_the_estimate_does(own: dict[str, object]) -> None:
    """A wall clock that is set ahead and back again, while nothing slept, moves the estimate, but
    no ``Date`` has shown yet that the earlier stamps were of the future; also where these were
    those that events would have had which have their own."""
    driver = Driver(refresh_interval=None)
    driver.sign_in(headers=date(WALL))
    driver.wall += 200.0
    driver.send(event(1) | own)
    driver.flush()
    driver.accept()
    driver.wall -= 200.0
    driver.send(event(2))
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-01T00:03:20.000Z"]


def test_a_wall_clock_that_is_set_back_changes_no_stamp() -> None:
    """The engine's clock never runs ahead: it is right, for a batch that is sent again, too."""
    driver = Driver(refresh_interval=None)
    driver.sign_in(headers=date(WALL))
    driver.advance(10.0)
    driver.send(event(1))
    driver.flush()
    driver.respond(503)
    driver.wall -= 100.0
    driver.advance(60.0)
    assert stamps(driver.batch()) == ["2026-01-01T00:00:10.000Z"]
    driver.accept()
    driver.send(event(2))
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-01T00:01:10.000Z"]


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404, 429, 503])
def test_every_response_tells_the_time(status: int) -> None:
    """The ``Date`` of any response counts, of an authorization or of events, errors included."""
    driver = Driver(batch_size=1, max_retries=0)
    driver.dice.always = 0.0
    driver.sign_in(headers=date(WALL))
    driver.send(event(1))
    driver.respond(status, headers=date(WALL + 99.0))
    if status == 401:
        driver.grant()
    else:
        driver.send(event(2))
    assert stamps(driver.batch()) == ["2026-01-01T00:01:39.000Z"]


def test_a_refused_authorization_tells_the_time_too() -> None:
    """Any response to an authorization tells the server's time, a refusal included."""
    driver = Driver(max_retries=1)
    driver.dice.always = 0.0
    driver.send(event(1))
    driver.respond(503, headers=date(WALL + 60.0))
    driver.grant()
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-01T00:01:00.000Z"]


# ── A machine that slept ─────────────────────────────────────────────────────────────────────


def sleep(driver: Driver, seconds: float) -> None:
    """Let wall clock and server go on, and the engine's clock stand still."""
    driver.wall += seconds


def test_a_stamp_after_a_sleep_is_the_time_after_it() -> None:
    """What is sent after a sleep has the time of then, before any response has come."""
    driver = Driver()
    driver.sign_in(headers=date(WALL))
    driver.send(event(1))
    driver.flush()
    driver.respond(200, headers=date(WALL))
    sleep(driver, 80 * 3600.0)
    driver.send(event(2))
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-04T08:00:00.000Z"]


def test_an_event_that_waited_through_a_sleep_is_not_too_old() -> None:
    """How long an event waits is known by the clock that stood still: it is stamped as if it had
    been sent after the sleep."""
    driver = Driver()
    driver.sign_in(headers=date(WALL))
    driver.send(event(1))
    driver.advance(5.0)
    sleep(driver, 80 * 3600.0)
    driver.flush()
    assert stamps(driver.batch()) == ["2026-01-04T08:00:00.000Z"]


def test_a_retry_has_new_stamps_after_a_sleep() -> None:
    """If the estimate moved by more than a minute since the first try, a retry has new stamps,
    under a new ``Idempotency-Key``; those of the caller's own are kept."""
    driver = Driver()
    driver.dice.always = 0.5
    driver.sign_in(headers=date(WALL))
    own = datetime(2025, 12, 31, 12, tzinfo=UTC)
    driver.send(event(1), event(2, issued_at=own))
    driver.flush()
    first = driver.batch()
    driver.respond(503)
    sleep(driver, 80 * 3600.0)
    driver.sleep()
    second = driver.batch()
    assert stamps(second) == ["2026-01-04T08:00:00.000Z", "2025-12-31T12:00:00+00:00"]
    assert header(first, "idempotency-key") != header(second, "idempotency-key")
    driver.respond(503, headers=date(WALL + 80 * 3600.0 - 30.0))
    driver.sleep()
    assert driver.batch().body == second.body
    assert header(driver.batch(), "idempotency-key") == header(second, "idempotency-key")


@pytest.mark.parametrize(("moved", "anew"), [(60.0, False), (61.0, True), (-61.0, True)])
def test_a_retry_has_new_stamps_after_a_move_of_more_than_a_minute(
    moved: float, anew: bool
) -> None:
    """A ``Date`` that moves the estimate by more than a minute does it, up or down."""
    driver = Driver()
    driver.dice.always = 0.0
    driver.sign_in(headers=date(WALL))
    driver.send(event(1))
    driver.flush()
    first = driver.batch()
    driver.respond(503, headers=date(WALL + moved))
    if not driver.out:
        driver.sleep()
    assert (driver.batch().body != first.body) == anew
    assert (header(driver.batch(), "idempotency-key") != header(first, "idempotency-key")) == anew


def test_a_retry_without_stamps_of_ours_keeps_its_key() -> None:
    """Where the package stamped nothing, a moved estimate changes nothing: one key, one body."""
    driver = Driver()
    driver.dice.always = 0.0
    driver.sign_in(headers=date(WALL))
    driver.send(event(1, issued_at=datetime(2025, 12, 31, 12, tzinfo=UTC)))
    driver.flush()
    first = driver.batch()
    driver.respond(401, headers=date(WALL + 5000.0))
    driver.grant()
    again = driver.batch()
    assert again.body == first.body
    assert header(again, "idempotency-key") == header(first, "idempotency-key")


def test_parts_have_new_stamps_after_a_move_of_the_estimate() -> None:
    """The response that rejects a batch may show that its stamps were wrong: its parts have new
    ones."""
    driver = Driver()
    driver.sign_in(headers=date(WALL))
    driver.send(event(1), event(2))
    driver.flush()
    for _ in range(2):
        driver.respond(422, headers=date(WALL + 300_000.0))
        assert stamps(driver.batch())[0] == "2026-01-04T11:20:00.000Z"


def test_an_event_rejected_alone_for_a_wrong_stamp_goes_once_more() -> None:
    """If the very response that rejects an event shows that its stamp was wrong by more than a
    minute, the event is sent once more with a new one: the fault was ours. But once."""
    driver = Driver(batch_size=1)
    driver.sign_in(headers=date(WALL))
    driver.send(event(1))
    driver.respond(422, headers=date(WALL + 300_000.0))
    assert stamps(driver.batch()) == ["2026-01-04T11:20:00.000Z"]
    driver.accept()
    (delivery,) = driver.send(event(2))
    driver.respond(422, headers=date(WALL + 600_000.0))
    driver.respond(422, headers=date(WALL + 900_000.0))
    assert error_of(delivery).status == 422
    assert driver.out == []


def test_an_event_of_a_callers_time_is_rejected_once() -> None:
    """However wrong our estimate proves: the time is not ours."""
    driver = Driver(batch_size=1)
    driver.sign_in(headers=date(WALL))
    (delivery,) = driver.send(event(1, issued_at="2026-01-01T00:00:00Z"))
    driver.respond(422, headers=date(WALL + 300_000.0))
    assert error_of(delivery).status == 422
    assert driver.out == []


def test_a_retry_carries_the_same_stamp() -> None:
    """The stamp is fixed when the batch is first made, and the same in a retry, after a new token
    with a ``Date`` a little later too."""
    driver = Driver()
    driver.dice.always = 0.5
    driver.sign_in(headers=date(WALL))
    driver.send(event(1))
    driver.flush()
    first = driver.batch()
    driver.respond(503)
    driver.sleep()
    driver.respond(401)
    driver.grant(headers=date(WALL + 50.0))
    assert driver.batch().body == first.body


def test_an_issued_at_of_the_callers_own_is_kept() -> None:
    """Only events without ``issued_at`` are stamped; an explicit None stays, too."""
    driver = Driver()
    driver.sign_in(headers=date(WALL))
    moment = datetime(2025, 12, 31, 12, tzinfo=UTC)
    driver.send(event(1, issued_at=moment), event(2, issued_at=None), event(3))
    driver.flush()
    assert stamps(driver.batch()) == [
        "2025-12-31T12:00:00+00:00",
        None,
        "2026-01-01T00:00:00.000Z",
    ]


def test_stamps_can_be_turned_off() -> None:
    """``stamp_issued_at=False`` sends events as they are."""
    driver = Driver(api=Api(stamp_issued_at=False))
    driver.sign_in()
    driver.send(event(1))
    driver.flush()
    assert payload(driver.batch()) == [event(1)]


def test_on_error_gets_the_event_as_it_was_sent() -> None:
    """``on_error`` gets the event with the stamp that it was sent with, in a part of a batch
    too: it can be sent again later as it is."""
    driver = Driver(on_error=lambda failure: None)
    driver.sign_in()
    driver.send(event(1), event(2, issued_at="2025-12-31T23:59:59Z"))
    driver.advance(3.0)
    driver.flush()
    sent = payload(driver.batch())
    assert "issued_at" in sent[0]
    driver.respond(422)
    driver.advance(5.0)
    driver.respond(422)
    driver.respond(403)
    assert [each.event for each in driver.failed] == sent


def test_an_event_that_never_was_in_a_batch_is_stamped_for_on_error() -> None:
    """With the time of its acceptance, by the server's clock where that is known; one whose batch
    was made, but not yet sent, has the stamp of that."""
    driver = Driver(on_error=lambda failure: None)
    driver.sign_in(headers=date(WALL + 100.0))
    driver.send(event(1))
    driver.advance(20.0)
    driver.buffer.destroy()
    driver.poll()
    assert driver.failed[0].event == event(1, issued_at="2026-01-01T00:01:40.000Z")


def test_without_on_error_nothing_is_stamped_for_it() -> None:
    """It costs nothing where it is not set, and moves no later stamp."""
    driver = Driver(max_queue=1)
    driver.send_numbers(1)
    driver.respond(401)
    assert driver.outbox._stamper._until == -math.inf


def test_on_error_gets_no_stamp_where_there_are_none() -> None:
    """``stamp_issued_at=False`` holds there, too."""
    driver = Driver(api=Api(stamp_issued_at=False), on_error=lambda failure: None)
    driver.send(event(1))
    driver.respond(401)
    assert driver.failed[0].event == event(1)


def test_an_event_with_a_new_stamp_has_all_its_retries() -> None:
    """It is a new request, and is reported as one."""
    driver = Driver(batch_size=1, max_retries=2, listening=True)
    driver.sign_in(headers=date(WALL))
    driver.send(event(1))
    for status in (503, 503, 422, 503, 503):
        driver.respond(status, headers=date(WALL + 300_000.0) if status == 422 else None)
        if not driver.out:
            driver.sleep()
    assert driver.batch().last_try
    sent = [each for each in driver.activity if isinstance(each, BatchSent)]
    assert [each.trigger for each in sent] == ["batch_size"] * 3 + ["new stamps"] * 3
