"""The bounds of disk and memory, and logs in memory."""

from __future__ import annotations

import pytest

from masivo._protocol.events.form import size
from masivo.protocol import (
    Api,
    FlushResult,
    Note,
    unwrap,
)
from masivo.spool.log import Log
from protocol.requests import numbers
from protocol.simulator import error_of, event, result_of
from protocol.spooled import SpoolDriver

from .outages import in_flight, killed, outage, recover

# ── Bounds ───────────────────────────────────────────────────────────────────────────────────────


def test_an_event_for_which_memory_has_no_room_is_on_disk_alone() -> None:
    """Its delivery has ended; it is sent in its place when there is room again."""
    driver = SpoolDriver(max_queue=10, batch_size=5)
    deliveries = [driver.buffer.send(event(n)) for n in range(30)]
    driver.poll()
    assert [each.done() for each in deliveries] == [False] * 10 + [True] * 20
    error = error_of(deliveries[10])
    assert type(error).__name__ == "MasivoQueueFullError"
    assert error.message == (
        "the buffer is full (max_queue=10 events, max_queue_bytes=67108864), or older events wait "
        "on disk"
    )
    assert error.spooled
    assert driver.buffer.stats().accepted == 30
    driver.flush()
    sent = [n for each in recover(driver) for n in numbers(each)]
    assert sent == list(range(30))
    assert [bool(result_of(each).success) for each in deliveries[:10]] == [True] * 10
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.delivered, stats.queued, stats.spooled) == (30, 30, 0, 0)
    (later,) = driver.send_numbers(31)  # memory has room again
    assert not later.done()


def test_an_event_that_ends_while_the_log_is_read_is_not_sent_again() -> None:
    """The read may have found it before its removal was written."""
    driver = SpoolDriver(max_queue=4, max_in_flight=2, batch_size=2)
    driver.sign_in()
    driver.send(event(0, "a"), event(1, "a"), event(2, "b"), event(3, "b"))
    first, second = driver.out
    driver.held = True
    driver.send(event(4, "c"))  # on disk alone
    driver.accept(first)  # now there is room, and the log is read
    (reading,) = driver.works
    found = reading.run()
    driver.accept(second)
    driver.works, driver.held = [], False
    driver.engine.hand_back(reading.id, found)
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[4]]


def test_an_event_behind_others_on_disk_keeps_its_place() -> None:
    """Also one whose call ended after memory had got room again."""
    driver = SpoolDriver(max_queue=4, batch_size=2)
    for n in range(8):
        driver.buffer.send(event(n))
    driver.poll()
    driver.grant()
    driver.accept()
    driver.buffer.send(event(8))
    driver.flush()
    rest = [n for each in recover(driver) for n in numbers(each)]
    assert rest == list(range(2, 9))


def test_events_on_disk_alone_wake_the_driver_once() -> None:
    """Those between two polls share their error; one warning counts them."""
    driver = SpoolDriver(max_queue=1)
    driver.sign_in()
    driver.send_numbers(1)
    wakes = driver.wakes
    second, third = driver.buffer.send(event(2)), driver.buffer.send(event(3))
    assert driver.wakes == wakes + 1
    assert second.outcome is third.outcome
    driver.poll()
    (line,) = [each for each in driver.warnings if "the buffer was full" in each]
    assert line.startswith("1 event was not delivered yet")
    fourth = driver.buffer.send(event(4))
    assert driver.wakes > wakes + 1
    assert fourth.outcome is not second.outcome


def test_memory_is_full_to_the_byte() -> None:
    """And no event stays on disk alone before."""
    length = size(SpoolDriver().buffer.send(event(1)).encoded)
    driver = SpoolDriver(max_queue_bytes=2 * length)
    assert [driver.buffer.send(event(n)).done() for n in range(3)] == [False, False, True]


def test_a_full_disk_refuses_the_event() -> None:
    """It was not accepted; what was there is whole, and when space returns so does the spool."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    driver.disk.full = True
    (second,) = driver.send_numbers(2)
    error = error_of(second)
    assert type(error).__name__ == "MasivoQueueFullError"
    assert error.message.endswith(": the event was not accepted")
    assert not error.spooled
    assert error.retryable
    assert driver.buffer.stats().overflowed == 1
    driver.disk.full = False
    driver.send_numbers(3)
    driver.flush()
    assert sorted(n for each in recover(driver) for n in numbers(each)) == [1, 3]


def test_the_warning_of_a_spool_without_room_says_what_is_wrong() -> None:
    """The disk, or ``spool_max_bytes``: a larger buffer would not help."""
    driver = SpoolDriver(most=1_000)
    driver.disk.full = True
    driver.send_numbers(1)
    driver.poll()
    driver.disk.full = False
    driver.buffer.send(event(2, text="x" * 5_000))
    driver.poll()
    on_disk, bound = driver.warnings
    assert "1 event was not delivered (MasivoQueueFullError: the spool in " in on_disk
    assert " cannot be written: No space left on device). Check the Delivery" in on_disk
    assert "(MasivoQueueFullError: the spool is full (spool_max_bytes=1000, in " in bound


def test_drain_need_not_wait_for_a_store_from_which_events_were_removed() -> None:
    """That makes room, and no write has failed since."""
    driver = SpoolDriver()
    in_flight(driver, 1)
    driver.accept()
    assert driver.buffer.drain().outcome is True


def test_drain_waits_for_room_on_the_disk() -> None:
    """It returns when something has left the spool."""
    driver = SpoolDriver(most=20_000, segment=2_000)
    n = 0
    while not driver.buffer.send(event(n, text="x" * 300)).done():
        n += 1
    driver.poll()
    ticket = driver.buffer.drain()
    driver.poll()
    for _ in range(2):  # the store is looked at every second
        assert ticket.claim() is None
        assert driver.wake_at == driver.now + 1.0
        driver.sleep()
    recover(driver, 5.0)
    assert ticket.claim() is True


def test_drain_waits_a_second_after_a_write_that_failed() -> None:
    """Then the store may be tried again."""
    driver = SpoolDriver()
    driver.disk.full = True
    driver.send_numbers(1)
    ticket = driver.buffer.drain()
    driver.poll()
    assert ticket.claim() is None
    driver.sleep_until(driver.now + 0.9)
    assert ticket.claim() is None
    driver.sleep_until(driver.now + 0.1)
    assert ticket.claim() is True


def test_an_event_past_72_hours_is_not_sent() -> None:
    """It counts as rejected, with that reason."""
    driver = SpoolDriver(max_retries=0)
    driver.send_numbers(1)
    driver.flush()
    outage(driver, 60.0)
    driver.now += 73 * 3600.0
    driver.send_numbers(2)
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[2]]
    assert driver.buffer.stats().failed == 1
    driver.close()
    (name,) = driver.files()
    assert b"older than 72 hours" in driver.disk.files[name].data


def test_an_event_that_its_caller_dated_is_not_sent_past_72_hours() -> None:
    """Though it was never out of memory."""
    driver = SpoolDriver()
    driver.send(event(1, issued_at="2025-12-20T00:00:00Z"), event(2, "d"))
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[2]]
    assert driver.buffer.stats().failed == 1


def test_a_wrong_date_makes_no_event_too_old() -> None:
    """As that of a gateway, days ahead, while the API is down: no success confirms it."""
    driver = SpoolDriver(max_retries=0)
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    driver.send(event(1, issued_at="2026-01-01T00:00:00Z"), event(2, "d"))
    driver.flush()
    for _ in range(3):
        driver.respond(502, headers={"date": "Mon, 05 Jan 2026 00:00:00 GMT"})
        while not driver.out:
            driver.sleep()
    assert sorted(n for each in recover(driver) for n in numbers(each)) == [1, 2]
    assert driver.buffer.stats().failed == 0


def test_an_event_whose_own_date_cannot_be_read_ages_from_its_call() -> None:
    """What the API makes of the date is its own affair."""
    api = Api(max_age=3600.0)
    driver = SpoolDriver(max_retries=0, on_error=lambda failed: None, api=api)
    driver.send(event(1, issued_at="soon"))
    driver.flush()
    outage(driver, 3000.0)
    assert driver.failed == []
    outage(driver, 1200.0)
    assert [failed.event["n"] for failed in driver.failed] == [1]


def test_an_adopted_event_past_72_hours_is_not_sent() -> None:
    """By its own ``issued_at``, too; without ``Api.max_age`` it is."""
    driver = SpoolDriver()
    driver.send(event(1), event(2, "d", issued_at="2025-12-20T00:00:00Z"))
    after = killed(driver)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]
    driver = SpoolDriver()
    driver.send(event(1))
    after = killed(driver, api=Api(max_age=None))
    after.now += 100 * 3600.0
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]


# ── Logs and memory ──────────────────────────────────────────────────────────────────────────────


def test_an_adopted_batch_leaves_no_trace_in_the_counts() -> None:
    """After it, a call wakes the driver no more often than before."""
    driver = SpoolDriver()
    driver.send(*(event(n, text="x" * 1_000) for n in range(5)))
    driver.flush()
    driver.grant()
    after = killed(driver, max_batch_bytes=6_000, max_event_bytes=2_000)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[*range(5)]]
    for _ in range(2):  # nor does one of its own
        after.send_numbers(5)
        wakes = after.wakes
        for n in range(6, 20):
            after.buffer.send(event(n))
        assert after.wakes == wakes
        after.send(*(event(n, text="x" * 1_000) for n in range(20, 24)))
        after.flush()
        recover(after)


def test_an_adopted_log_is_let_go_when_its_events_have_ended() -> None:
    """Not only at the end of the client: nothing is left of it."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    after = killed(driver)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]
    assert after.files() == []


def test_a_release_ends_the_deliveries_of_events_that_are_not_queued_yet() -> None:
    """They wait behind one that is on disk alone, and stay there themselves."""
    driver = SpoolDriver(max_queue=2)
    in_flight(driver, 1, 2, 3)
    driver.held = True
    driver.accept()
    (fourth,) = driver.send_numbers(4)
    driver.buffer.destroy()
    driver.poll()
    assert error_of(fourth).spooled
    stats = driver.buffer.stats()
    assert (stats.queued, stats.in_flight, stats.delivered, stats.spooled) == (0, 0, 2, 2)


def test_damage_to_a_log_is_counted() -> None:
    """The client's own, or one that it adopts; the events around it are delivered."""
    for adopted in (False, True):
        driver = SpoolDriver(max_queue=1)
        driver.send_numbers(*range(8))
        (name,) = driver.files(".log")
        data = driver.disk.files[name].data
        for n in (2, 5):
            data[data.index(b'"n":%d' % n)] ^= 255
        after = killed(driver) if adopted else driver
        after.flush()
        sent = [n for each in recover(after) for n in numbers(each)]
        assert sent == [0, 1, 3, 4, 6, 7]
        assert after.buffer.stats().spooled == 0
        said = [line.split()[1] for line in after.warnings if "could not be read" in line]
        assert said == (["2"] if adopted else ["1", "1"])


def test_a_batch_that_may_have_been_sent_goes_first() -> None:
    """Before the log's other events, which are read while the token is fetched."""
    driver = SpoolDriver(batch_size=1)
    driver.send(event(1, "a"), event(2, "b"))
    driver.flush()
    driver.grant()
    assert numbers(driver.batch()) == [1]
    after = killed(driver, batch_size=1)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1], [2]]


def test_a_batch_that_may_have_been_sent_waits_for_its_customers() -> None:
    """Of two that held events of one customer, the second goes when the first has its outcome."""
    first = SpoolDriver()
    second = SpoolDriver(first.disk)
    for number, driver in enumerate((first, second)):
        in_flight(driver, number)
    first.process.kill()
    after = killed(second, max_in_flight=2)
    after.buffer.use()
    after.sign_in()
    sent = numbers(after.batch())
    after.accept()
    assert sorted(sent + numbers(after.batch())) == [0, 1]


def test_a_noted_batch_that_cannot_be_read_stops_nothing() -> None:
    """What of it is an event is sent in another batch."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    position = driver.spool.append(b"no event", 1000.0, True)
    assert driver.spool.own is not None
    driver.spool.own.note(Note([0, position], "the key", b""))
    driver.send_numbers(2)
    after = killed(driver)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1, 2]]
    assert after.files(".log") == []


def test_requests_that_were_not_sent_do_not_count_against_a_batch() -> None:
    """After them, a batch has all its retries."""
    driver = SpoolDriver(max_retries=2)
    driver.send_numbers(1)
    driver.flush()
    driver.grant()
    for _ in range(3):
        driver.break_off(sent=False)
        while not driver.out:
            driver.sleep()
    began = driver.now
    for _ in range(3):
        driver.respond(500)
        while not driver.out:
            driver.sleep()
    assert driver.now - began < 10.0


def test_what_is_read_keeps_to_the_bytes_of_memory() -> None:
    """``max_queue_bytes``, whatever their number; the rest is read as there is room."""
    driver = SpoolDriver()
    driver.send(*(event(n, text="x" * 300) for n in range(40)))
    after = killed(driver, max_queue_bytes=4_000, max_event_bytes=1_000)
    after.flush()
    after.grant()
    assert 5 <= after.buffer.outbox.pending <= 11
    assert sorted(n for each in recover(after) for n in numbers(each)) == [*range(40)]


def test_a_log_that_cannot_be_read_for_a_while_is_read_later() -> None:
    """A process without a free descriptor can read no file: that is no damage."""
    driver = SpoolDriver(max_queue=2)
    driver.process.starved = True
    driver.send(*(event(n) for n in range(6)))
    ticket = driver.flush()
    recover(driver, 10.0)
    assert ticket.claim() is None
    driver.process.starved = False
    assert [n for each in recover(driver) for n in numbers(each)] == [2, 3, 4, 5]
    assert unwrap(ticket.claim()) == FlushResult(6, 0, 0)
    assert not [line for line in driver.warnings if "could not be read" in line]


@pytest.mark.parametrize("step", ["_load", "noted"])
def test_a_log_that_cannot_be_adopted_for_a_while_is_adopted_later(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the batch that was noted: it goes again under its key. Files can be read until this
    step."""
    driver = SpoolDriver()
    request = in_flight(driver, 1, 2)
    driver.send_numbers(3)
    after = killed(driver)
    after.buffer.use()
    do = getattr(Log, step)

    def do_starved(log: Log) -> object:
        after.process.starved = True
        return do(log)

    with monkeypatch.context() as patch:
        patch.setattr(Log, step, do_starved)
        assert recover(after, 40.0) == []
    after.process.starved = False
    first, second = recover(after, 100.0)
    assert (first.headers, first.body) == (request.headers, request.body)
    assert numbers(second) == [3]
    assert after.files() == []


def test_a_close_that_can_read_nothing_leaves_its_log_to_others() -> None:
    """It ends; the next client sends what is left."""
    driver = SpoolDriver()
    driver.send_numbers(1, 2)
    driver.process.starved = True
    driver.buffer.destroy()
    driver.poll()
    assert driver.closed
    assert [line for line in driver.warnings if line.startswith("events of this client stay")]
    after = SpoolDriver(driver.disk, at=driver.now)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1, 2]]
    assert after.files() == []


def test_a_segment_that_could_not_be_read_at_once_is_deleted_in_the_end() -> None:
    """Else it would take the room of others while the client lives."""
    driver = SpoolDriver(segment=500, batch_size=10)
    driver.sign_in()
    for n in range(10):
        driver.send_numbers(n)
        driver.flush()
        driver.process.starved = n == 5
        driver.accept()
    driver.advance(61.0)
    assert len(driver.files(".log")) == 1
