"""A client that delivers a log to which others append
(``docs/reference/guarantees.md#live-logs``)."""

from __future__ import annotations

import pytest

from masivo._protocol.batches.adoption import LOOK

from .live import LiveDriver, LiveLog
from .requests import is_authorization, numbers
from .simulator import START, WALL


def live(log: LiveLog | None = None, **options: object) -> LiveDriver:
    """A client that has its token, and looked at its log just now."""
    # The options are those of a client, which a keyword of ``object`` does not say.
    driver = LiveDriver(LiveLog() if log is None else log, **options)  # type: ignore[arg-type]
    driver.sign_in()
    return driver


def test_an_empty_live_log_is_looked_at_again() -> None:
    """After a second without a word, and not before."""
    driver = live()
    reads = driver.log.reads
    driver.advance(LOOK / 2)
    assert driver.log.reads == reads
    driver.sleep()
    assert driver.log.reads == reads + 1


def test_a_look_reads_at_once() -> None:
    """The store says that something came: nothing waits for the next look."""
    driver = live(batch_size=2)
    driver.put(1, 2)
    driver.look()
    assert numbers(driver.batch()) == [1, 2]


def test_a_look_during_a_read_leads_to_another() -> None:
    """The read may have begun before the event came."""
    driver = live(batch_size=1)
    driver.held = True
    driver.advance(2 * LOOK)
    assert len(driver.works) == 1
    works, driver.works = driver.works, []
    results = [(work.id, work.run()) for work in works]
    driver.put(1)
    driver.look()
    for number, result in results:
        driver.engine.hand_back(number, result)
    driver.held = False
    driver.poll()
    assert numbers(driver.batch()) == [1]


def test_more_than_a_window_is_read_without_a_pause() -> None:
    """The next look is for an end."""
    driver = live(batch_size=500, max_queue=10_000)
    driver.put(*range(2_500))
    driver.look()
    seen: list[int] = []
    while driver.out:
        seen += numbers(driver.batch())
        driver.accept()
    assert seen == [*range(2_500)]
    assert driver.now == START


def test_events_wait_for_a_batch() -> None:
    """Those of other logs go at once; these are still coming."""
    driver = live(batch_size=3, idle_timeout=30.0)
    driver.put(1, 2)
    driver.look()
    assert not driver.out
    driver.put(3)
    driver.look()
    assert numbers(driver.batch()) == [1, 2, 3]


def test_max_wait_counts_from_when_an_event_was_stored() -> None:
    """However long it lay there before it was read."""
    log = LiveLog()
    log.put(1, WALL - 50.0)
    driver = live(log, max_wait=60.0, idle_timeout=55.0)
    log.put(2, WALL)
    driver.look()
    assert not driver.out
    driver.sleep_until(START + 9.9)
    assert not driver.out
    driver.sleep_until(START + 10.1)
    assert numbers(driver.batch()) == [1, 2]


def test_idle_timeout_counts_from_the_last_event() -> None:
    """As for a client's own events."""
    log = LiveLog()
    log.put(1, WALL - 4.0)
    driver = live(log, max_wait=60.0, idle_timeout=5.0)
    driver.sleep_until(START + 0.9)
    assert not driver.out
    driver.sleep_until(START + 1.1)
    assert numbers(driver.batch()) == [1]


def test_the_wait_is_counted_by_the_clock_that_stamped_it() -> None:
    """An event's time may be the server's, and this machine's wall clock be an hour behind it."""
    log = LiveLog()
    driver = LiveDriver(log, idle_timeout=60.0, max_wait=60.0)
    ticket = driver.buffer.token()
    driver.poll()
    driver.grant(headers={"date": "Thu, 01 Jan 2026 01:00:00 GMT"})
    assert ticket.outcome is not None
    log.put(1, WALL + 3600.0 - 59.0, certain=True)
    driver.look()
    assert not driver.out
    driver.sleep_until(START + 1.5)
    assert numbers(driver.batch()) == [1]


def test_nothing_is_noted() -> None:
    """A batch is not noted before it is sent; delivered, its events are removed."""
    driver = live(batch_size=2)
    driver.put(1, 2)
    driver.look()
    driver.accept()
    assert (driver.log.notes, driver.log.events) == (0, {})


def test_a_batch_waits_for_the_removal_of_those_before_it() -> None:
    """Whoever has the log next sends again what is not removed: the batches in flight alone."""
    driver = live(batch_size=2, max_in_flight=2)
    for number in range(8):
        driver.put(number, customer=f"c{number % 4}")
    driver.look()
    driver.held = True
    first, second = [*driver.out]
    driver.accept(first)
    assert driver.out == [second]
    driver.accept(second)
    assert not driver.out
    driver.held = False
    driver.work()
    assert [*map(numbers, driver.out)] == [[2, 6], [3, 7]]
    assert [*driver.log.events] == [2, 3, 6, 7]


def test_removals_that_wait_become_one_step() -> None:
    """On another host each step takes a round trip. Batches that come up meanwhile go without one
    of their own."""
    driver = live(batch_size=2, max_in_flight=3)
    for number in range(12):
        driver.put(number, customer=f"c{number % 6}")
    driver.look()
    driver.held = True
    for request in [*driver.out]:
        driver.accept(request)
    (first,) = driver.works
    driver.work()
    (second,) = driver.works
    assert [len(first.steps), len(second.steps)] == [1, 1]
    assert [numbers(each) for each in driver.out] == [[3, 9]]
    driver.work()
    assert [numbers(each) for each in driver.out] == [[3, 9], [4, 10], [5, 11]]
    assert driver.works == []


def test_an_outage_gives_nothing_up_and_keeps_the_order() -> None:
    """Minutes of 503: all of it is still there, and then goes in order."""
    driver = live(batch_size=2)
    driver.put(1, 2, 3, 4, 5, 6)
    driver.look()
    while driver.now < START + 300.0:
        for request in list(driver.out):
            driver.respond(503, to=request)
        driver.sleep()
    assert len(driver.log.events) == 6
    seen: list[int] = []
    while driver.log.events:
        for request in list(driver.out):
            seen += [] if is_authorization(request) else numbers(request)
            driver.accept(request)
        driver.sleep()
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_rejected_event_is_isolated() -> None:
    """It is kept with its reason, and the others are delivered."""
    driver = live(batch_size=4)
    driver.put(1, 2, 3, 4)
    driver.look()
    while driver.out:
        request = driver.batch()
        driver.respond(422 if 3 in numbers(request) else 200, {}, to=request)
        if not driver.out and driver.log.events:
            driver.sleep()
    assert [each.status for each in driver.log.rejected] == [422]
    assert not driver.log.events


@pytest.mark.parametrize("call", ["flush", "close"])
def test_a_call_does_not_wait_for_others(call: str) -> None:
    """What was read goes, and that ends the call, whatever others append meanwhile."""
    driver = live(batch_size=10)
    driver.put(1, 2)
    driver.look()
    ticket = driver.flush() if call == "flush" else driver.close()
    driver.put(3)
    driver.advance(2 * LOOK)  # it may be read, too
    driver.accept()
    if call == "flush":
        assert ticket.outcome is not None
    else:
        assert driver.closed
        assert [*driver.log.events] == [3]


def test_a_close_reads_nothing_more() -> None:
    """Not even when the log is due to be read again: the close would wait for what it finds."""
    driver = live(batch_size=10)
    driver.put(1, 2)
    driver.look()
    driver.close()
    driver.put(3)
    reads = driver.log.reads
    driver.advance(2 * LOOK)
    driver.accept()
    assert driver.closed
    assert (driver.log.reads, [*driver.log.events]) == (reads, [3])


def test_a_release_says_nothing_of_what_others_will_deliver() -> None:
    """The log is let go of, with its events."""
    driver = live()
    driver.put(1, 2)
    driver.look()
    driver.buffer.destroy()
    driver.poll()
    assert driver.log.released
    assert len(driver.log.events) == 2
    assert driver.warnings == []


def test_a_store_that_is_due_is_tended_each_second() -> None:
    """Though nothing else happens: a batch may wait for what could not be removed."""
    driver = live(batch_size=2)
    driver.log.due = True
    driver.put(1, 2)
    driver.look()
    driver.accept()
    tended = driver.log.tended
    driver.sleep_until(driver.now + 5.5)
    assert driver.log.tended - tended == 5


def test_memory_is_bounded() -> None:
    """A log of any length is read as there is room for it."""
    driver = live(batch_size=10, max_queue=100)
    driver.put(*range(1_000))
    driver.look()
    assert driver.buffer.stats().queued + driver.buffer.stats().in_flight <= 100
    assert driver.buffer.stats().adopted <= 100


def test_a_customer_that_fails_stops_nobody() -> None:
    """Its events stay in the log, and those of others behind them are read and sent. When the API
    takes the customer's, all go, in order, and once."""
    driver = live(max_retries=0, max_queue=1_000, idle_timeout=1.0)
    driver.put(*range(2_500), customer="bad")
    driver.put(10_000)
    driver.look()
    seen: list[int] = []

    def serve(until: float, *, well: bool) -> None:
        while driver.now < until:
            for request in list(driver.out):
                bad = not is_authorization(request) and numbers(request)[0] < 10_000
                if bad and not well:
                    driver.respond(500, to=request)
                else:
                    seen.extend([] if is_authorization(request) else numbers(request))
                    driver.accept(request)
            if not driver.out:
                driver.sleep()

    serve(driver.now + 60.0, well=False)
    assert seen == [10_000]
    driver.put(2_500, customer="bad")
    driver.put(10_001)
    driver.look()
    serve(driver.now + 10.0, well=False)
    assert seen == [10_000, 10_001]
    serve(driver.now + 600.0, well=True)
    assert seen[2:] == [*range(2_501)]
    assert not driver.log.events


def test_a_refused_key_makes_no_event_due() -> None:
    """After the rest, those that were read meanwhile wait for the ordinary triggers."""
    driver = live(batch_size=2, idle_timeout=1e4, max_wait=1e4, refresh_interval=None)
    driver.put(1, 2)
    driver.look()
    for _ in range(2):
        driver.respond(401)
        if driver.out:
            driver.grant()
    driver.put(3, customer="other")
    driver.look()
    sent: list[int] = []
    while driver.now < START + 100.0:
        for request in list(driver.out):
            if is_authorization(request):
                driver.grant()
            else:
                sent += numbers(request)
                driver.accept(request)
        driver.sleep()
    assert sent == [1, 2]
