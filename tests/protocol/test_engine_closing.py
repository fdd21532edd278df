"""Closing and destroying a client (``docs/reference/guarantees.md#closing-and-exit``)."""

from __future__ import annotations

from collections import UserDict
from typing import TYPE_CHECKING

import pytest

from masivo._protocol.errors import MasivoAuthError, MasivoClosedError
from masivo.protocol import BatchSent, Delivery, Failed, FlushResult, Waiters, settle

from .requests import is_authorization, numbers
from .simulator import START, Driver, error_of, event, in_batch, result_of
from .test_settle import Log

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_closing_flushes_then_detaches() -> None:
    """``close`` sends what is buffered, and ends when everything has its outcome."""
    driver = Driver(batch_size=2)
    driver.sign_in()
    deliveries = driver.send_numbers(1, 2, 3)
    ticket = driver.close(10.0)
    driver.accept()
    assert ticket.claim() is None
    assert not driver.closed
    assert numbers(driver.batch()) == [3]
    driver.accept()
    assert ticket.claim() is True
    assert all(result_of(each).success for each in deliveries)
    assert driver.closed
    assert driver.wake_at is None


def test_closing_an_idle_client_ends_at_once() -> None:
    """With nothing to be sent, ``close`` ends at once, and sends nothing."""
    driver = Driver()
    ticket = driver.close(10.0)
    assert ticket.claim() is True
    assert driver.closed
    assert driver.sent == []


def test_the_deadline_of_a_close_counts_a_stuck_request() -> None:
    """At the deadline, exactly, what is undelivered ends with a MasivoClosedError, what is stuck
    in a request included; the response that comes later is ignored."""
    driver = Driver(batch_size=1, timeout=60.0, refresh_interval=None)
    driver.sign_in()
    deliveries = driver.send_numbers(1, 2)
    ticket = driver.close(10.0)
    assert driver.wake_at == START + 10.0
    driver.sleep()
    assert ticket.claim() is True
    for each in deliveries:
        assert type(error_of(each)) is MasivoClosedError
        assert "timeout=10" in error_of(each).message
    driver.accept()
    assert driver.closed
    assert len(driver.settled) == 2
    stats = driver.buffer.stats()
    assert (stats.failed, stats.queued, stats.in_flight) == (2, 0, 0)


def test_the_deadline_counts_from_the_call() -> None:
    """The deadline counts from the call of ``close``, not from the next poll."""
    driver = Driver(batch_size=1, refresh_interval=None)
    driver.sign_in()
    driver.send_numbers(1)
    driver.buffer.close(10.0)
    driver.advance(4.0)
    assert driver.wake_at == START + 10.0


def test_the_deadline_counts_a_stuck_authorization() -> None:
    """The deadline ends events that wait for a token, too."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    ticket = driver.close(3.0)
    assert is_authorization(driver.only())
    driver.sleep()
    assert driver.now == START + 3.0
    assert ticket.claim() is True
    assert type(error_of(delivery)) is MasivoClosedError


def test_a_close_without_time_fails_everything() -> None:
    """``close(0)`` sends nothing and fails everything."""
    driver = Driver()
    driver.sign_in()
    (delivery,) = driver.send_numbers(1)
    ticket = driver.close(0.0)
    assert ticket.claim() is True
    assert type(error_of(delivery)) is MasivoClosedError
    assert driver.out == []


def test_closing_cuts_a_wait_for_a_retry_short_for_one_last_try() -> None:
    """A batch that waits to be retried goes at once when its client closes with a deadline; it
    is its last try."""
    driver = Driver(max_retries=10, refresh_interval=None)
    driver.dice.always = 0.5
    _, (delivery,) = in_batch(driver, 1)
    for _ in range(5):
        driver.respond(503)
        driver.sleep()
    driver.respond(503)
    assert driver.out == []
    ticket = driver.close(60.0)
    assert numbers(driver.batch()) == [1]
    driver.respond(503, {"error": "last"})
    assert ticket.claim() is True
    assert "last" in error_of(delivery).message
    assert driver.out == []


def test_a_request_that_fails_during_a_close_gets_one_last_try_at_once() -> None:
    """A batch that is out when its client closes, and fails, is tried once more without a wait."""
    driver = Driver(max_retries=10, refresh_interval=None)
    driver.dice.always = 0.5
    _, (delivery,) = in_batch(driver, 1)
    driver.close(60.0)
    driver.respond(503)
    assert numbers(driver.batch()) == [1]
    driver.respond(503)
    assert error_of(delivery).status == 503


def test_closing_cuts_a_retry_after_short() -> None:
    """The wait of a ``Retry-After`` is cut short for one last try too, of the batch that it held
    and of each batch after it."""
    driver = Driver(batch_size=1, refresh_interval=None)
    driver.dice.always = 0.0
    driver.sign_in()
    deliveries = driver.send_numbers(1, 2)
    driver.respond(429, headers={"retry-after": "100"})
    assert driver.out == []
    ticket = driver.close(60.0)
    driver.respond(429, headers={"retry-after": "100"})
    assert error_of(deliveries[0]).status == 429
    assert numbers(driver.batch()) == [2]
    driver.respond(429)
    assert error_of(deliveries[1]).status == 429
    assert ticket.claim() is True


def test_closing_hurries_an_authorization() -> None:
    """An authorization that waits to be retried is tried a last time at once, too."""
    driver = Driver(max_retries=10, refresh_interval=None)
    driver.dice.always = 1.0
    (delivery,) = driver.send_numbers(1)
    driver.respond(503)
    driver.sleep()
    driver.respond(503)
    assert driver.out == []
    driver.close(60.0)
    assert is_authorization(driver.only())
    driver.respond(503)
    assert error_of(delivery).status == 503


def test_a_close_without_a_deadline_waits_as_long_as_the_retries_take() -> None:
    """``close(None)`` hurries nothing: the retries keep their waits, a ``Retry-After`` its own."""
    driver = Driver(max_retries=3, refresh_interval=None)
    driver.dice.always = 0.5
    in_batch(driver, 1)
    ticket = driver.close(None)
    driver.respond(503)
    assert driver.wake_at == START + 0.25
    driver.sleep()
    driver.respond(429, headers={"retry-after": "200"})
    assert driver.wake_at == driver.now + 200.0
    driver.sleep()
    driver.accept()
    assert ticket.claim() is True


def test_closing_twice_keeps_the_earlier_deadline() -> None:
    """``close`` is idempotent; of several deadlines the earliest counts, and all calls end."""
    driver = Driver(batch_size=1, refresh_interval=None)
    driver.sign_in()
    driver.send_numbers(1)
    tickets = [driver.close(20.0), driver.close(5.0), driver.close(30.0), driver.close(None)]
    assert driver.wake_at == START + 5.0
    driver.sleep()
    assert [each.claim() for each in tickets] == [True] * 4
    assert driver.close(1.0).claim() is True
    assert driver.buffer.close(None).claim() is True
    driver.buffer.destroy()
    driver.poll()


def test_destroying_fails_everything_without_sending() -> None:
    """``destroy`` ends undelivered events with a MasivoClosedError, at once, and every call that
    waits."""
    driver = Driver(batch_size=1, max_queue=3)
    driver.sign_in()
    deliveries = driver.send_numbers(1, 2, 3)
    flush, drain = driver.buffer.flush(), driver.buffer.drain()
    driver.buffer.destroy()
    driver.poll()
    assert all(type(error_of(each)) is MasivoClosedError for each in deliveries)
    assert flush.claim() == FlushResult(0, 3)
    assert type(error_of(drain)) is MasivoClosedError
    assert driver.closed
    assert driver.wake_at is None
    driver.accept()
    assert len(driver.sent) == 2


def test_destroying_ends_a_close_that_waits() -> None:
    """``destroy`` ends a ``close`` that still waits."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    driver.send_numbers(1)
    ticket = driver.close(None)
    driver.buffer.destroy()
    driver.poll()
    assert ticket.claim() is True


def test_a_closed_client_refuses_calls() -> None:
    """Sending, ``flush``, ``drain`` and ``get_token`` on a closed client raise MasivoClosedError
    from the call on, before any poll; ``close`` and ``destroy`` do nothing."""
    for end in ("close", "destroy"):
        driver = Driver()
        if end == "close":
            driver.buffer.close(10.0)
        else:
            driver.buffer.destroy()
        for call in (
            lambda buffer=driver.buffer: buffer.send(event(1)),
            driver.buffer.flush,
            driver.buffer.drain,
            driver.buffer.token,
        ):
            with pytest.raises(MasivoClosedError):
                call()
        driver.poll()
        driver.buffer.destroy()
        driver.buffer.close(1.0)
        driver.poll()


def test_what_overlaps_with_the_end_of_a_client_has_its_outcome() -> None:
    """An event, a drain, a wish for the token or a close, whose call overlapped with ``destroy``
    (it was let in, and lies behind it in the inbox), ends; it does not hang."""
    driver = Driver(max_queue=1)
    (held,) = driver.send_numbers(1)
    destroy = driver.buffer.destroy()
    driver.buffer._gate.closed = False  # as if a thread had been stopped in the middle of its call
    driver.buffer._gate.full_count = 2
    delivery = driver.buffer.send(event(2))
    driver.buffer._gate.full_count = 1
    drain, token = driver.buffer.drain(), driver.buffer.token()
    close = driver.buffer.close(5.0)
    assert drain.claim() is None
    driver.poll()
    assert close.claim() is True
    assert token.claim() is not None
    assert error_of(token).message == "the client was closed"
    for each in (held, delivery, drain):
        assert type(error_of(each)) is MasivoClosedError
    assert driver.wake_at is None
    assert set(driver.tickets) == {destroy, drain, token, close}


def test_what_overlaps_with_the_deadline_of_a_close_fails_with_that_error() -> None:
    """Where the client had ended with a close that ran out, that is their error."""
    driver = Driver(max_queue=1)
    driver.send_numbers(1)
    driver.close(5.0)
    driver.now += 5.0
    driver.poll()
    driver.buffer._gate.closed = False
    delivery, drain = driver.buffer.send(event(2)), driver.buffer.drain()
    driver.poll()
    for each in (delivery, drain):
        assert "close(timeout=5) ran out" in error_of(each).message


def test_what_overlaps_with_the_end_of_a_close_fails_as_the_client_is_closed() -> None:
    """Where the close ended in time, none of their errors says that it ran out."""
    driver = Driver(max_queue=1)
    assert driver.close(5.0).claim() is True
    driver.buffer._gate.closed = False
    (delivery,) = driver.send_numbers(1)
    assert error_of(delivery).message.startswith("the client is closed")


def test_an_event_that_overlaps_with_a_close_is_sent_at_once() -> None:
    """An event whose call overlapped with ``close`` (it lies behind it in the inbox) is sent like
    the others: it does not wait for its time."""
    driver = Driver(listening=True)
    driver.sign_in()
    ticket = driver.buffer.close(None)
    driver.buffer._gate.closed = False
    (delivery,) = driver.send_numbers(1)
    assert numbers(driver.batch()) == [1]
    (sent,) = [each for each in driver.activity if isinstance(each, BatchSent)]
    assert sent.trigger == "close"
    driver.accept()
    assert result_of(delivery).success
    assert ticket.claim() is True


def test_a_client_that_is_gone_is_given_no_token() -> None:
    """``get_token`` behind an ``abort`` in the inbox ends with MasivoClosedError, though the key
    still has a token then."""
    driver = Driver()
    driver.sign_in()
    driver.engine.abort("the event loop was closed")
    ticket = driver.buffer.token()
    driver.poll()
    assert type(error_of(ticket)) is MasivoClosedError


def test_a_waiting_get_token_ends_when_its_client_closes() -> None:
    """``get_token`` of a client that closes ends with MasivoClosedError; another client's call
    goes on."""
    driver = Driver()
    other = driver.client()
    mine, others = driver.buffer.token(), other.token()
    driver.poll()
    driver.close(10.0)
    assert type(error_of(mine)) is MasivoClosedError
    assert others.claim() is None
    token = driver.grant()
    assert others.claim() == token


def test_a_client_goes_without_its_siblings() -> None:
    """Closing one client leaves the others of the key their events, token and timers."""
    driver = Driver(refresh_interval=300.0)
    other = driver.client()
    driver.dice.fix(1.0)
    driver.sign_in()
    driver.send_numbers(1, buffer=other)
    driver.close(10.0)
    assert not driver.closed
    assert driver.wake_at == START + 30.0
    driver.sleep()
    assert numbers(driver.batch()) == [1]


def test_after_the_last_client_the_next_starts_fresh() -> None:
    """After the last client of a key is gone, its token and timers are gone; the next one
    authorizes anew."""
    driver = Driver(refresh_interval=10.0)
    driver.sign_in()
    driver.close(10.0)
    assert driver.wake_at is None
    driver.advance(100.0)
    assert driver.out == []
    driver.buffer = driver.client()
    driver.send_numbers(1)
    assert is_authorization(driver.only())


def test_a_renewal_that_is_out_when_the_last_client_goes_is_ignored() -> None:
    """A response to the authorization of a key without clients brings no token."""
    driver = Driver()
    driver.send_numbers(1)
    driver.buffer.destroy()
    driver.poll()
    driver.grant()
    driver.buffer = driver.client()
    driver.send_numbers(2)
    assert is_authorization(driver.only())


def test_an_authorization_of_clients_that_are_gone_brings_their_successor_no_token() -> None:
    """Nor does that response bring one where the key has a client again: it waits for its own."""
    driver = Driver()
    driver.send_numbers(1)
    late = driver.authorization()
    driver.buffer.destroy()
    driver.poll()
    driver.buffer = driver.client()
    ticket = driver.buffer.token()
    driver.poll()
    driver.respond(200, {"data": "a-late-token"}, to=late)
    assert ticket.claim() is None
    token = driver.grant()
    assert ticket.claim() == token


def test_the_last_client_may_go_while_its_key_is_refused() -> None:
    """A refusal does not outlive the last client of its key."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.respond(401)
    assert type(error_of(delivery)) is MasivoAuthError
    driver.close(1.0)
    driver.buffer = driver.client()
    driver.send_numbers(2)
    assert is_authorization(driver.only())


@pytest.mark.parametrize("seconds", ["200", "3600"])
def test_the_last_client_may_go_while_its_key_is_held_back(seconds: str) -> None:
    """A ``Retry-After`` and the count of failures do not outlive the last client of their key,
    whether its engine is used again or not: the next one starts fresh."""
    driver = Driver(max_retries=0, batch_size=1)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.send_numbers(1)
    driver.respond(429, headers={"retry-after": seconds})
    driver.close(1.0)
    driver.buffer = driver.client(batch_size=1)
    (delivery,) = driver.send_numbers(2)
    driver.grant()
    driver.accept()
    assert result_of(delivery).success


def test_a_close_does_not_cut_short_what_a_sibling_waits_for() -> None:
    """An authorization that a closing client hurried is retried for the others as often as ever:
    only the closing client's events fail with the last try."""
    driver = Driver(max_retries=4, refresh_interval=None)
    other = driver.client()
    driver.dice.always = 0.5
    (mine,) = driver.send_numbers(1)
    (others,) = driver.send_numbers(2, buffer=other)
    driver.respond(503)
    driver.close(5.0)
    driver.respond(503)
    assert isinstance(mine.claim(), Failed)
    assert not others.done()
    driver.sleep()
    driver.grant()
    driver.flush(other)
    assert numbers(driver.batch()) == [2]


def test_aborting_detaches_every_client_with_one_warning() -> None:
    """``Engine.abort`` fails everything without sending; one warning says how many were lost,
    whether anybody asks or not."""
    driver = Driver()
    other = driver.client()
    deliveries = driver.send_numbers(1, 2) + driver.send_numbers(3, buffer=other)
    driver.engine.abort("the event loop was closed")
    driver.poll()
    assert driver.closed
    assert driver.wake_at is None
    for each in deliveries:
        assert type(error_of(each)) is MasivoClosedError
        assert "the event loop was closed" in error_of(each).message
    assert driver.warnings == ["3 events were not sent: the event loop was closed"]
    for buffer in (driver.buffer, other):
        with pytest.raises(MasivoClosedError):
            buffer.send(event(4))


def test_a_client_ends_once() -> None:
    """A second end changes nothing: what overlapped fails with the error of the first."""
    driver = Driver()
    driver.send_numbers(1)
    driver.close(5.0)
    driver.advance(5.0)
    driver.buffer.destroy()
    driver.buffer.abandon("again")
    driver.poll()
    driver.buffer._gate.closed = False  # as if a thread had been stopped in the middle of `send`
    delivery = driver.buffer.send(event(2))
    driver.poll()
    assert "close(timeout=5) ran out" in error_of(delivery).message
    assert driver.warnings == []


def test_each_half_of_a_batch_has_its_last_try() -> None:
    """A close cuts a wait short for one last try; a half of what is rejected then is new."""
    driver = Driver()
    driver.dice.always = 0.9
    _, deliveries = in_batch(driver, 1, 2)
    driver.close(60.0)
    driver.respond(503)
    driver.respond(422)
    assert numbers(driver.batch()) == [1]
    driver.respond(503)
    assert numbers(driver.batch()) == [1]
    driver.accept()
    driver.accept()
    assert all(result_of(each).success for each in deliveries)


def test_an_event_that_comes_while_a_poll_ends_its_client() -> None:
    """An event that comes in during the very poll that ends its client, before its sender could
    see that, has the driver woken, too."""
    driver = Driver()
    driver.sign_in()
    (first,) = driver.send_numbers(1)
    sent: list[Delivery] = []
    driver.core.input(lambda: sent.append(driver.buffer.send(event(2))))
    driver.engine.abort("the event loop was closed")
    wakes = driver.wakes
    driver.engine.poll()
    assert type(error_of(first)) is MasivoClosedError
    assert driver.wakes == wakes + 1
    driver.poll()
    assert type(error_of(sent[0])) is MasivoClosedError


def test_an_event_whose_sender_saw_the_client_open() -> None:
    """A client that is destroyed while another call is in ``send``, past its check: the event has
    the driver woken, although few events waited, and fails like those before it."""
    driver = Driver()
    driver.sign_in()
    driver.send_numbers(1)

    class Slow(UserDict[str, object]):
        def __iter__(self) -> Iterator[str]:
            driver.buffer.destroy()
            driver.poll()
            return super().__iter__()

    wakes = driver.wakes
    late = driver.buffer.send(Slow(event(2)))
    assert driver.closed
    assert driver.wakes > wakes
    driver.poll()
    assert type(error_of(late)) is MasivoClosedError
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.failed, stats.queued) == (2, 2, 0)


def test_a_close_of_a_destroyed_client_sets_no_timer() -> None:
    """Another client of the key has nothing to wake up for."""
    driver = Driver()
    driver.client()
    tickets = [driver.buffer.destroy(), driver.buffer.close(10.0)]
    driver.poll()
    assert [each.claim() for each in tickets] == [True, True]
    assert driver.wake_at is None


def test_what_is_detached_needs_no_poll_to_end_again() -> None:
    """Nobody may poll its engine any more."""
    driver = Driver()
    driver.close()
    for ticket in (driver.buffer.close(10.0), driver.buffer.destroy()):
        assert ticket.claim() is True
        assert not driver.engine.pending


def test_an_abort_says_what_happened() -> None:
    """The error of what was pending gives the reason."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.engine.abort("the event loop was closed")
    driver.poll()
    said = "the event loop was closed before this could be delivered"
    assert error_of(delivery).message == said


def test_of_two_closes_that_end_together_the_first_gives_the_error() -> None:
    """A later call moves the deadline only to an earlier time."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.close(8.0)
    driver.advance(3.0)
    driver.close(5.0)
    driver.sleep()
    assert error_of(delivery).message.endswith(": close(timeout=8) ran out")


@pytest.mark.parametrize("several", [False, True], ids=["the last client", "not the last"])
def test_a_failure_that_nobody_holds_is_logged_before_the_close_ends(several: bool) -> None:
    """Perhaps nothing runs after a close: a signal may end the process at once."""
    driver, log, waiters = Driver(), Log(), Waiters()
    other = driver.client() if several else None
    driver.buffer.send(event(1))
    ticket = driver.buffer.destroy()
    seen: list[str] = []
    waiters.add(ticket, lambda: seen.extend(log.lines))
    settle(driver.engine.poll(), log, waiters)
    assert ticket.outcome is True
    (line,) = seen
    assert line.startswith("warning: 1 event was not delivered (MasivoClosedError")
    settle(driver.engine.poll(), log, waiters)
    assert log.lines == seen  # once
    del other
