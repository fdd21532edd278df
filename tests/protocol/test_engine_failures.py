"""Failed batches: retries, their waits, and the last error
(``docs/reference/guarantees.md#retries``)."""

from __future__ import annotations

import pytest

from masivo._protocol.errors import MasivoConfigError, MasivoError, MasivoNetworkError
from masivo.protocol import Failed, FailedEvent, Failure, SendEventResult

from .requests import header, is_authorization, numbers, payload
from .simulator import START, WALL, Driver, error_of, event, in_batch, result_of

DATES = [
    ("Thu, 01 Jan 2026 00:00:20 GMT", "Thu, 01 Jan 2026 00:00:00 GMT", 20.0),
    ("Thursday, 01-Jan-26 00:01:00 GMT", "Thu, 01 Jan 2026 00:00:00 GMT", 60.0),
    ("Thu Jan  1 00:00:09 2026", None, 9.0),
]
"""Retry-After, the response's Date, and the seconds that they mean (the wall clock reads WALL)."""


# ── What is retried ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_some_statuses_are_retried(status: int) -> None:
    """408, 429, 500, 502, 503 and 504 are retried; the same bytes go under the same key."""
    driver = Driver()
    first, (delivery,) = in_batch(driver, 1)
    driver.dice.fix(0.5)
    driver.respond(status, b"busy")
    assert driver.wake_at == START + 0.25
    driver.advance(0.125)
    assert driver.out == []
    driver.sleep()
    again = driver.batch()
    assert again.body == first.body
    assert header(again, "idempotency-key") == header(first, "idempotency-key")
    assert again.id != first.id
    driver.accept()
    assert result_of(delivery).success


@pytest.mark.parametrize("status", [100, 301, 302, 308, 402, 403, 404, 405, 409, 418, 501, 505])
def test_other_statuses_are_not_retried(status: int) -> None:
    """Any other error status ends the batch at once: a MasivoError with the status."""
    driver = Driver()
    _, (delivery,) = in_batch(driver, 1)
    driver.respond(status, {"error": "no", "details": "because"})
    error = error_of(delivery)
    assert type(error) is MasivoError
    assert (error.status, error.details) == (status, "because")
    assert driver.out == []


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("status", [None, 400, 401, 404, 500])
def test_no_usable_response_is_retried(status: int | None, sent: bool) -> None:
    """No response is retried, and so is a malformed one that is no 2xx, whatever its status."""
    driver = Driver(max_retries=1)
    driver.dice.always = 0.5
    first, (delivery,) = in_batch(driver, 1)
    driver.break_off("timed out", sent=sent, status=status)
    assert driver.wake_at == START + 0.25
    driver.sleep()
    assert driver.batch().body == first.body
    cause = OSError("x")
    driver.break_off("timed out", sent=sent, status=status, cause=cause)
    error = error_of(delivery)
    assert type(error) is MasivoNetworkError
    assert "timed out" in error.message
    assert ("nothing was sent" in error.message) is not sent
    assert error.status == status
    assert error.__cause__ is cause


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_2xx_that_breaks_off_is_never_sent_again(status: int) -> None:
    """Once the headers of a 2xx have arrived, the batch is not sent again: a MasivoNetworkError
    with the status says that it may have been accepted."""
    driver = Driver()
    _, (delivery,) = in_batch(driver, 1)
    cause = OSError("cut")
    driver.break_off("cut off", status=status, cause=cause)
    error = error_of(delivery)
    assert type(error) is MasivoNetworkError
    assert "may have been accepted" in " ".join(error.message.split())
    assert error.status == status
    assert error.__cause__ is cause
    assert driver.out == []
    assert driver.buffer.stats().retries == 0


@pytest.mark.parametrize("body", [b"<html></html>", b"{", b"\xff", b"{} {}", b"NaN", b"\x1f\x8b"])
def test_a_complete_2xx_that_is_not_json_says_to_check_base_url(body: bytes) -> None:
    """A complete 2xx that is neither empty nor JSON is a MasivoError that says to check
    ``base_url``; it is not retried."""
    driver = Driver()
    _, (delivery,) = in_batch(driver, 1)
    driver.respond(200, body)
    error = error_of(delivery)
    assert type(error) is MasivoError
    assert "base_url" in error.message
    assert error.status == 200
    assert driver.out == []


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"a\ud83d", "a\ufffd"),
        (r"\uDE00b", "\ufffdb"),
        (r"\ud83d\uD83D\uDE00", "\ufffd\N{GRINNING FACE}"),
        (r"\\ud83d", r"\ud83d"),
    ],
)
def test_a_lone_surrogate_in_a_2xx_is_replaced(written: str, text: str) -> None:
    """A 2xx whose JSON escapes one half of a surrogate pair, as servers in JavaScript write a text
    that was cut within an emoji, is a success: U+FFFD is in its place."""
    driver = Driver()
    _, (delivery,) = in_batch(driver, 1)
    driver.respond(200, f'{{"echo":"{written}"}}'.encode())
    assert result_of(delivery).data == {"echo": text}


# ── How often, and when ──────────────────────────────────────────────────────────────────────


def test_the_waits_are_random_and_double_to_30_seconds() -> None:
    """The waits are random parts of 0.5 s, 1 s, 2 s, … up to 30 s: full jitter."""
    driver = Driver(max_retries=10, refresh_interval=None)
    in_batch(driver, 1)
    for draw, bound in [
        *((0.5, 0.5), (0.25, 1.0), (0.75, 2.0), (0.5, 4.0), (0.5, 8.0)),
        *((0.5, 16.0), (0.5, 30.0), (1.0, 30.0), (0.25, 30.0), (0.5, 30.0)),
    ]:
        driver.dice.fix(draw)
        driver.respond(503)
        assert driver.wake_at == driver.now + draw * bound
        driver.sleep()
    driver.batch()


def test_a_wait_of_nothing_retries_at_once() -> None:
    """A draw of 0 retries in the same poll."""
    driver = Driver()
    in_batch(driver, 1)
    driver.dice.fix(0.0)
    driver.respond(503)
    assert numbers(driver.batch()) == [1]


@pytest.mark.parametrize("max_retries", [0, 1, 4])
def test_a_batch_is_retried_max_retries_times(max_retries: int) -> None:
    """A batch is retried up to ``max_retries`` times (0: never), and fails with the last
    error."""
    driver = Driver(max_retries=max_retries)
    driver.dice.always = 0.0
    _, (delivery,) = in_batch(driver, 1)
    for attempt in range(max_retries + 1):
        assert not delivery.done()
        driver.respond(503, {"error": f"attempt {attempt}"})
    assert f"attempt {max_retries}" in error_of(delivery).message
    assert driver.out == []
    stats = driver.buffer.stats()
    assert (stats.requests, stats.retries) == (max_retries + 1, max_retries)


def test_the_next_batch_goes_on_with_the_wait_where_the_last_one_stopped() -> None:
    """While the last response was such a failure, the next batch waits first, twice as long; a good
    response ends that."""
    driver = Driver(max_retries=1, batch_size=1, refresh_interval=None)
    driver.dice.fix(1.0)
    driver.sign_in()
    driver.send_numbers(1, 2, 3)
    driver.dice.fix(0.5)
    driver.respond(503)
    driver.sleep()
    driver.dice.fix(0.5)
    driver.respond(503)
    assert driver.wake_at == driver.now + 0.5
    driver.sleep()
    assert numbers(driver.batch()) == [2]
    driver.dice.fix(0.5)
    driver.respond(503)
    assert driver.wake_at == driver.now + 1.0
    driver.sleep()
    driver.accept()
    assert numbers(driver.batch()) == [3]


def test_a_2xx_that_breaks_off_leaves_the_waits_as_they_are() -> None:
    """A response that breaks off is no sign that all is well again: the next batch still waits."""
    driver = Driver(batch_size=1, refresh_interval=None)
    driver.dice.always = 0.5
    driver.sign_in()
    driver.send_numbers(1)
    driver.respond(503)
    driver.sleep()
    driver.break_off(status=200)
    driver.send_numbers(2)
    assert driver.out == []
    assert driver.wake_at == driver.now + 0.25


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
def test_any_other_response_ends_the_waits(status: int) -> None:
    """Any response that asks for no retry, an error too, ends the doubling of the waits."""
    driver = Driver(batch_size=1, refresh_interval=None, isolate_rejected=False)
    driver.dice.always = 0.0
    driver.sign_in()
    driver.send_numbers(1)
    driver.respond(503)
    driver.respond(503)
    driver.respond(status)
    if status == 401:
        driver.grant()
    driver.dice.fix(0.5)
    if status != 401:
        driver.send_numbers(2)
    driver.respond(503)
    assert driver.wake_at == START + 0.25


def test_failures_of_requests_that_were_out_together_count_once() -> None:
    """Two requests that were out together and both fail double the wait once, not twice."""
    driver = Driver(batch_size=1, max_in_flight=2, refresh_interval=None)
    driver.sign_in()
    driver.send(event(1, "a"), event(2, "b"))
    first, second = driver.out
    driver.dice.fix(0.5, 0.5)
    driver.respond(503, to=first)
    driver.respond(503, to=second)
    assert driver.wake_at == START + 0.25
    driver.sleep()
    assert len(driver.out) == 2


def test_later_events_wait_behind_a_batch_that_is_being_retried() -> None:
    """While a batch is being retried, later events wait, and keep their order."""
    driver = Driver(batch_size=2, refresh_interval=None)
    driver.dice.always = 0.5
    driver.sign_in()
    driver.send_numbers(1, 2)
    driver.respond(503)
    driver.send_numbers(3, 4, 5)
    assert driver.out == []
    driver.sleep()
    assert numbers(driver.batch()) == [1, 2]
    driver.accept()
    assert numbers(driver.batch()) == [3, 4]


# ── Retry-After ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize("seconds", ["1", "20", "300", " 20 "])
def test_retry_after_seconds_hold_the_retry_back(status: int, seconds: str) -> None:
    """``Retry-After`` in seconds, up to 300, holds the retry back exactly so long."""
    driver = Driver(refresh_interval=None)
    in_batch(driver, 1)
    driver.dice.fix(0.0)
    driver.respond(status, headers={"retry-after": seconds})
    assert driver.wake_at == START + float(seconds)
    driver.sleep()
    assert numbers(driver.batch()) == [1]


@pytest.mark.parametrize(("date", "date_of", "wait"), DATES)
def test_retry_after_dates_hold_the_retry_back(date: str, date_of: str | None, wait: float) -> None:
    """``Retry-After`` as a date (in any of the three forms) counts by the response's own ``Date``,
    or by the local clock without one."""
    driver = Driver(refresh_interval=None)
    if date_of is not None:
        driver.wall = WALL + 12_345.0  # a clock that is wrong does not matter then
    in_batch(driver, 1)
    driver.dice.fix(0.0)
    headers = {"retry-after": date} | ({} if date_of is None else {"date": date_of})
    driver.respond(429, headers=headers)
    assert driver.wake_at == START + wait


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5", "soon", "0", "Thu, 01 Jan 1970 00:00:00 GMT", "٣", "1e3", "0x10"]
)
def test_a_retry_after_that_says_nothing_leaves_the_usual_wait(text: str) -> None:
    """A ``Retry-After`` that cannot be read, or is over, changes nothing."""
    driver = Driver(refresh_interval=None)
    in_batch(driver, 1)
    driver.dice.fix(0.5)
    driver.respond(429, headers={"retry-after": text})
    assert driver.wake_at == START + 0.25


def test_a_random_wait_beyond_retry_after_still_counts() -> None:
    """The later of the random wait and ``Retry-After`` counts."""
    driver = Driver(refresh_interval=None)
    driver.dice.always = 0.0
    in_batch(driver, 1)
    for _ in range(3):
        driver.respond(503)
    driver.dice.fix(1.0)
    driver.respond(503, headers={"retry-after": "1"})
    assert driver.wake_at == START + 4.0


def test_retry_after_holds_back_every_request_of_the_key() -> None:
    """A ``Retry-After`` holds back the batches of the other clients, and authorizations."""
    driver = Driver(refresh_interval=100.0, max_retries=0, batch_size=1)
    other = driver.client(batch_size=1)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.advance(90.0)
    driver.send_numbers(1)
    driver.dice.always = 0.0
    driver.respond(429, headers={"retry-after": "30"})
    driver.send_numbers(2, buffer=other)
    driver.sleep_until(START + 119.75)
    assert driver.out == []
    driver.now = START + 120.0
    driver.poll()
    assert [is_authorization(each) for each in driver.out].count(True) == 1
    assert len(driver.out) == 2


def test_events_that_come_during_a_hold_go_with_the_first_batch_after_it() -> None:
    """While the key is held, due events stay in the buffer: what comes meanwhile goes along."""
    driver = Driver(max_retries=0, refresh_interval=None, idle_timeout=1.0)
    driver.dice.always = 0.0
    in_batch(driver, 1)
    driver.respond(429, headers={"retry-after": "20"})
    driver.send_numbers(2)
    driver.advance(10.0)
    driver.send_numbers(3)
    driver.sleep_until(START + 20.0)
    assert numbers(driver.batch()) == [2, 3]


def test_a_longer_retry_after_fails_batches_at_once_until_it_is_over() -> None:
    """With a ``Retry-After`` beyond 300 s, batches fail at once with that error until it has
    passed; without a request, also where a token would be needed."""
    driver = Driver(batch_size=1, refresh_interval=None)
    driver.dice.always = 0.0
    driver.sign_in()
    driver.send_numbers(1)
    driver.respond(429, {"error": "daily limit"}, headers={"retry-after": "3600"})
    assert "daily limit" in error_of(driver.settled[0]).message
    driver.advance(3599.0)
    (second,) = driver.send_numbers(2)
    assert error_of(second).status == 429
    assert "daily limit" in error_of(second).message
    assert driver.out == []
    driver.advance(1.0)
    driver.send_numbers(3)
    assert numbers(driver.batch()) == [3]


def test_a_longer_retry_after_of_an_authorization_does_the_same() -> None:
    """The same for the response to an authorization: the waiting events fail, and so do batches and
    ``get_token`` until it is over; events that are no batch yet wait for their time."""
    driver = Driver(batch_size=2, refresh_interval=None)
    (first,) = driver.send_numbers(1)
    driver.respond(429, {"error": "limit"}, headers={"retry-after": "301"})
    assert error_of(first).status == 429
    (second,) = driver.send_numbers(2)
    assert not second.done()
    ticket = driver.buffer.token()
    driver.poll()
    assert error_of(ticket).status == 429
    driver.send_numbers(3)
    assert error_of(second).status == 429
    assert driver.out == []
    driver.dice.fix(0.0)
    driver.now = START + 301.0
    driver.send_numbers(4)
    assert is_authorization(driver.only())


def test_a_token_is_fetched_at_the_end_of_a_longer_retry_after() -> None:
    """What waits then has its token fetched at once, as a first event has, not when it is due."""
    driver = Driver(max_retries=0)
    driver.dice.always = 0.0
    driver.send_numbers(1)
    driver.respond(429, headers={"retry-after": "301"})
    driver.now += 300.0
    driver.send_numbers(2)
    assert driver.out == []
    driver.sleep()
    driver.authorization()
    assert driver.now == START + 301.0


def test_a_longer_retry_after_fails_what_waits_for_a_retry() -> None:
    """Batches that wait for a retry fail with it at once: those of other clients, and parts of a
    batch that was halved."""
    driver = Driver(batch_size=1, refresh_interval=None)
    other = driver.client(batch_size=1)
    driver.sign_in()
    driver.send_numbers(1)
    driver.send_numbers(2, buffer=other)
    first, second = driver.out
    driver.dice.fix(1.0)
    driver.respond(503, to=first)
    driver.respond(429, {"error": "limit"}, to=second, headers={"retry-after": "900"})
    assert [error_of(each).status for each in driver.settled] == [429, 429]
    driver = Driver(refresh_interval=None)
    _, deliveries = in_batch(driver, 1, 2)
    driver.respond(400)
    driver.respond(429, headers={"retry-after": "900"})
    assert [error_of(each).status for each in deliveries] == [429, 429]


# ── on_error ─────────────────────────────────────────────────────────────────────────────────


def test_on_error_is_called_once_for_each_event_that_finally_fails() -> None:
    """``on_error`` gets each failed event as it was sent, with its error; not one that was
    delivered or is retried."""

    def on_error(failure: FailedEvent) -> None:
        """Never called by the core."""

    driver = Driver(on_error=on_error, max_retries=1, refresh_interval=None)
    driver.dice.always = 0.0
    in_batch(driver, 1)
    driver.accept()
    request, _ = in_batch(driver, 2, 3)
    driver.respond(503)
    assert driver.failed == []
    driver.respond(503, {"error": "down"})
    assert [each.event for each in driver.failed] == payload(request)
    assert all("down" in each.error.message for each in driver.failed)


def test_on_error_is_not_called_for_an_event_that_was_not_accepted() -> None:
    """An event that the full buffer did not take is no accepted event: no ``on_error``."""
    driver = Driver(on_error=lambda failure: None, max_queue=1)
    driver.sign_in()
    driver.send_numbers(1, 2)
    driver.accept()
    assert driver.failed == []


def test_on_error_is_called_where_an_event_fails_at_once() -> None:
    """An event that fails as the key is refused is an accepted one: ``on_error`` is called."""
    driver = Driver(on_error=lambda failure: None)
    driver.send_numbers(1)
    driver.respond(401)
    driver.send_numbers(2)
    assert [each.event["n"] for each in driver.failed] == [1, 2]


def test_a_delivered_event_keeps_its_outcome() -> None:
    """An outcome, once there, never changes: late and unknown responses are ignored."""
    driver = Driver()
    request, (delivery,) = in_batch(driver, 1)
    driver.accept()
    driver.out.append(request)
    driver.respond(500, to=request)
    driver.out.append(request)
    driver.break_off(to=request)
    assert result_of(delivery) == SendEventResult(True, 200, {"ok": True})
    assert len(driver.settled) == 1


def test_everything_that_is_due_fails_at_once_while_a_retry_after_is_too_long() -> None:
    """One poll ends every batch that is due, and leaves what is not."""
    driver = Driver(batch_size=2, max_retries=0)
    driver.sign_in()
    in_batch(driver, 1)
    driver.respond(503, headers={"retry-after": "301"})
    deliveries = driver.send_numbers(2, 3, 4, 5, 6)
    assert [each.peek() is not None for each in deliveries] == [True] * 4 + [False]
    driver.flush()
    assert all(error_of(each).status == 503 for each in deliveries)


def test_a_failure_without_a_reason_has_a_message() -> None:
    """A driver that gives no reason, or nothing that can be printed, gets an error that says
    something all the same."""
    for reason in ("", " \n"):
        driver = Driver(max_retries=0)
        ticket = driver.buffer.token()
        driver.poll()
        driver.engine.hand_back(driver.out[0].id, Failure(reason, sent=True))
        driver.poll()
        assert isinstance(ticket.outcome, Failed)
        assert ticket.outcome.error.message == "no usable response from the API"


def test_a_long_retry_after_counts_although_a_shorter_one_lasts() -> None:
    """Batches that come due fail at once while the server asks for too much patience, also where
    another response holds requests back for longer than now."""
    driver = Driver(batch_size=1, max_in_flight=2)
    driver.sign_in()
    driver.send(event(1, "a"), event(2, "b"))
    first, second = driver.out
    driver.respond(503, to=first, headers={"retry-after": "300"})
    driver.respond(503, to=second, headers={"retry-after": "400"})
    (delivery,) = driver.send(event(3, "c"))
    assert error_of(delivery).status == 503


def test_a_batch_that_waits_for_its_retry_leaves_no_timer_behind() -> None:
    """When its client is destroyed, nothing is left to be done."""
    driver = Driver(refresh_interval=None)
    driver.client()
    in_batch(driver, 1)
    driver.respond(503)
    assert driver.wake_at is not None
    driver.buffer.destroy()
    driver.poll()
    assert driver.wake_at is None


@pytest.mark.parametrize(("status", "accepted"), [(199, 0), (200, 1), (299, 1), (300, 0)])
def test_only_the_headers_of_a_2xx_end_a_batch(status: int, accepted: int) -> None:
    """A response that broke off is final if it had begun with success; else it is retried."""
    driver = Driver()
    driver.dice.always = 0.0
    _, (delivery,) = in_batch(driver, 1)
    driver.break_off("cut", status=status)
    driver.poll()
    assert len(driver.out) == 1 - accepted
    assert delivery.done() is bool(accepted)


@pytest.mark.parametrize(("status", "delivered"), [(199, 0), (200, 1), (299, 1), (300, 0)])
def test_only_a_2xx_delivers(status: int, delivered: int) -> None:
    """A status below 200 or from 300 on is no success."""
    driver = Driver()
    _, (delivery,) = in_batch(driver, 1)
    driver.respond(status)
    assert isinstance(delivery.claim(), SendEventResult) is bool(delivered)


def test_a_request_that_cannot_be_made_delays_no_other() -> None:
    """It says nothing of the API: the next batch need not wait."""
    driver = Driver(batch_size=1)
    in_batch(driver, 1)
    driver.respond(503)
    driver.sleep()
    fatal = MasivoConfigError("pass a function")
    driver.engine.hand_back(driver.out.pop().id, Failure("none", False, fatal=fatal))
    driver.poll()
    driver.send_numbers(2)
    assert numbers(driver.batch()) == [2]
