"""When events on disk are read, and what of them counts
(``docs/reference/guarantees.md#memory-with-a-spool``)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from masivo._protocol.batches.adoption import SCAN, Source
from masivo._protocol.events.form import size
from masivo._protocol.storage.store import Window
from masivo.protocol import Delivery, FlushResult, StoreDone, StoreError, StoreWork, unwrap
from protocol.live import LiveDriver, LiveLog
from protocol.requests import numbers
from protocol.simulator import error_of, event, result_of
from protocol.spooled import SpoolDriver


def test_a_log_that_cannot_be_read_is_read_again_after_a_pause() -> None:
    """To the moment, and nothing else has to happen."""
    driver = LiveDriver(LiveLog())
    driver.sign_in()
    driver.put(1)
    driver.held = True
    driver.look()
    (work,) = driver.works
    driver.works = []
    driver.engine.hand_back(work.id, work.interrupted)
    driver.poll()
    assert driver.wake_at == driver.now + 1.0
    driver.advance(0.99)
    assert driver.works == []
    driver.advance(0.01)
    driver.work()
    assert driver.buffer.stats().adopted == 1


def test_an_own_log_that_cannot_be_read_is_read_again_after_a_pause() -> None:
    """The events on disk alone are still there."""
    driver = SpoolDriver(max_queue=1, batch_size=1)
    driver.sign_in()
    driver.send_numbers(1, 2)
    driver.held = True
    driver.accept()
    (work,) = driver.works
    driver.works, driver.held = [], False
    assert len(work.steps) == 1, "a read"
    driver.engine.hand_back(work.id, StoreDone([StoreError("no")]))
    driver.poll()
    assert driver.out == []
    driver.advance(0.99)
    assert driver.out == []
    driver.advance(0.01)
    assert numbers(driver.batch()) == [2]


def test_a_flush_waits_for_a_log_that_cannot_be_read() -> None:
    """Its events are to be delivered, too."""
    first = SpoolDriver()
    first.send_numbers(1)
    first.process.kill()
    driver = SpoolDriver(first.disk, at=first.now)
    driver.held = True
    flush = driver.flush()
    driver.poll()
    driver.work()  # it adopts the log
    (work,) = driver.works
    (window,) = work.run().results
    assert isinstance(window, Window)
    driver.engine.hand_back(work.id, work.interrupted)
    driver.works = []
    driver.poll()
    driver.held = False
    driver.advance(0.5)
    assert flush.claim() is None
    driver.advance(0.5)
    driver.grant()
    driver.accept()
    assert flush.claim() == FlushResult(1, 0)


@pytest.mark.parametrize(
    ("batch_size", "max_in_flight", "window"),
    [(100, 1, 1_000), (1_000, 1, 2_000), (600, 2, 2_400)],
)
def test_a_window_holds_two_batches_for_each_in_flight(
    batch_size: int, max_in_flight: int, window: int
) -> None:
    """And no fewer than a thousand events."""
    driver = LiveDriver(LiveLog(), batch_size=batch_size, max_in_flight=max_in_flight)
    driver.sign_in()
    driver.put(*range(2 * window))
    driver.look()
    assert driver.buffer.stats().adopted == window


def test_a_window_is_read_when_half_of_the_last_has_gone() -> None:
    """No earlier: about a window of events is in memory."""
    driver = LiveDriver(LiveLog(), max_in_flight=1, batch_size=100)
    driver.sign_in()
    driver.put(*range(2_000))
    driver.look()
    taken: list[int] = []
    while driver.out:
        taken.append(driver.buffer.stats().adopted)
        driver.accept()
    assert taken == [1_000] * 5 + [2_000] * 15


def test_a_live_log_at_its_end_is_looked_at_by_its_own_clock() -> None:
    """A second after the read began, whenever that of another log was."""
    driver = LiveDriver(LiveLog())
    driver.sign_in()
    driver.look()
    assert driver.wake_at == driver.now + 1.0


def test_what_is_no_event_is_counted_and_removed() -> None:
    """In a log of the client's own, and in an adopted one; the rest is delivered."""
    for adopted in (False, True):
        driver = SpoolDriver(max_queue=1, batch_size=1)
        driver.sign_in()
        driver.send_numbers(1, 2)
        driver.spool.append(b"no event", 1000.0, True)
        driver.send_numbers(3)
        if adopted:
            driver.process.kill()
            driver = SpoolDriver(driver.disk, at=driver.now, max_queue=1, batch_size=1)
            driver.buffer.use()
            driver.sign_in()
        ticket = driver.flush()
        sent: list[int] = []
        while driver.out:
            sent += numbers(driver.batch())
            driver.accept()
        assert sent == [1, 2, 3]
        assert unwrap(ticket.claim()) == FlushResult(3, 0, 0)
        assert [line for line in driver.warnings if "1 part could not be read" in line]
        driver.close()
        assert driver.files(".log") == []


def test_an_adopted_log_whose_last_event_was_in_a_noted_batch_is_let_go() -> None:
    """At the end of the read that finds nothing more."""
    first = SpoolDriver()
    first.sign_in()
    first.send_numbers(1)
    first.flush()
    assert numbers(first.batch()) == [1]
    first.process.kill()
    driver = SpoolDriver(first.disk, at=first.now)
    driver.buffer.use()
    driver.sign_in()
    driver.accept()
    assert driver.files() == []


def test_the_client_is_full_of_what_it_reads() -> None:
    """Events that were read count as those that callers sent do, in bytes too."""
    driver = SpoolDriver(max_queue=10, batch_size=5, max_in_flight=2)
    driver.send(*(event(n, "c") for n in range(30)))
    driver.sign_in()
    for _ in range(6):
        stats = driver.buffer.stats()
        assert stats.queued + stats.in_flight + stats.spooled + stats.delivered == 30
        assert driver.buffer.outbox.pending <= 10
        driver.accept()
    assert driver.buffer.stats().delivered == 30
    assert driver.buffer.outbox.pending == 0
    assert driver.buffer.outbox.gate.ended_bytes == driver.buffer.outbox.gate.count()[2]


def test_a_window_fits_to_the_byte() -> None:
    """It has half of the bytes of memory, and is read when these are free."""
    length = size(SpoolDriver().buffer.send(event(1)).encoded)
    driver = SpoolDriver(max_queue_bytes=4 * length, max_event_bytes=length, batch_size=1)
    driver.sign_in()
    driver.send_numbers(*range(6))
    driver.accept()
    assert driver.outbox.pending == 3
    driver.accept()
    assert driver.outbox.pending == 3, "of the four that are left"


def test_a_log_in_the_place_of_a_lost_one_is_read_from_its_start() -> None:
    """The place that the other was read to means nothing in it."""
    driver = SpoolDriver(max_queue=1, batch_size=1)
    driver.sign_in()
    driver.send_numbers(1, 2)
    driver.accept()
    assert numbers(driver.batch()) == [2]
    driver.disk.files.clear()
    driver.advance(SCAN)
    driver.send_numbers(3)
    driver.accept()
    assert numbers(driver.batch()) == [3]


def test_one_log_is_adopted_at_a_time() -> None:
    """Polls while the disk is slow do not ask for the next."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    driver.process.kill()
    driver = SpoolDriver(driver.disk, at=driver.now)
    driver.held = True
    driver.poll()
    assert driver.works == [], "it was not used yet"
    for _ in range(2):
        driver.buffer.use()
        driver.poll()
    driver.work()
    (work,) = driver.works
    assert len(work.steps) == 1, "a read"


def test_a_client_that_holds_a_log_looks_for_others() -> None:
    """Nothing else has to wake it."""
    first = SpoolDriver()
    first.send_numbers(1)
    first.process.kill()
    driver = SpoolDriver(first.disk, at=first.now, refresh_interval=None)
    driver.buffer.use()
    driver.sign_in()
    assert numbers(driver.batch()) == [1]
    assert driver.wake_at == driver.now + 30.0


def waiting(driver: SpoolDriver) -> list[Delivery]:
    """Have event 3 on disk alone, and 4 and 5 wait behind it, which fill memory: they came after a
    poll had read the log to its end, and before one knew of event 3."""
    driver.sign_in()
    driver.send_numbers(0, 1, 2)

    def delivered() -> None:
        while driver.out:
            driver.accept()

    driver.spool.before = delivered
    third, *rest = [driver.buffer.send(event(n)) for n in (3, 4, 5)]
    assert third.done()
    assert [each.done() for each in rest] == [False, False]
    return rest


def test_events_that_fill_memory_leave_room_for_the_one_they_wait_for() -> None:
    """A batch is read, though there is none."""
    driver = SpoolDriver(max_queue=2, batch_size=2)
    waiting(driver)
    driver.poll()
    assert numbers(driver.batch()) == [3, 4]


def test_a_flush_waits_for_events_that_wait_for_others() -> None:
    """Each counts once, though it is queued only when it is read."""
    driver = SpoolDriver(max_queue=2, batch_size=2)
    waiting(driver)
    driver.held = True
    driver.poll()
    ticket = driver.flush()
    driver.held = False
    driver.work()
    for which in ([3, 4], [5]):
        assert ticket.claim() is None
        assert numbers(driver.batch()) == which
        driver.accept()
    assert unwrap(ticket.claim()) == FlushResult(6, 0, 0)


def test_events_that_wait_for_others_stay_when_the_client_ends() -> None:
    """Their deliveries end with it."""
    driver = SpoolDriver(max_queue=2, batch_size=2)
    rest = waiting(driver)
    driver.held = True
    driver.poll()
    driver.buffer.destroy()
    driver.poll()
    assert [error_of(each).spooled for each in rest] == [True, True]
    stats = driver.buffer.stats()
    assert (stats.delivered, stats.queued, stats.spooled) == (3, 0, 3)


def test_a_log_that_grew_while_it_was_read_to_its_end_is_read_on() -> None:
    """The event that came meanwhile is on disk alone."""
    driver = SpoolDriver(max_queue=1, batch_size=1)
    driver.sign_in()
    driver.send_numbers(1, 2)
    driver.held = True
    driver.accept()
    (work,) = driver.works
    driver.works, driver.held = [], False
    done = work.run()
    driver.send_numbers(3)
    driver.engine.hand_back(work.id, done)
    driver.poll()
    for number in (2, 3):
        assert numbers(driver.batch()) == [number]
        driver.accept()


def test_an_event_that_waited_for_a_read_is_not_read_itself() -> None:
    """It was stored after the read had begun, and is in memory already."""
    driver = SpoolDriver(max_queue_bytes=4_000, max_event_bytes=4_000, batch_size=1)
    driver.sign_in()
    driver.send_numbers(0)
    works: list[StoreWork] = []

    def meanwhile() -> None:
        driver.buffer.send(event(1, text="x" * 3_850))
        driver.held = True
        driver.poll()
        driver.work()
        (work,) = driver.works
        works.append(work)
        done.append(work.run())
        driver.works = []

    done: list[StoreDone] = []
    driver.spool.before = meanwhile
    second = driver.buffer.send(event(2))
    assert not second.done()
    driver.poll()
    driver.engine.hand_back(works[0].id, done[0])
    driver.held = False
    driver.poll()
    assert driver.buffer.send(event(3)).done(), "memory is full"
    for number in range(4):
        assert numbers(driver.batch()) == [number]
        driver.accept()
    assert driver.out == []


def test_an_event_that_waits_is_sent_though_the_log_has_lost_it() -> None:
    """It is in memory; and the log is not read for it again."""
    driver = SpoolDriver(max_queue=2, batch_size=2)
    rest = waiting(driver)
    (name,) = driver.files(".log")
    data = driver.disk.files[name].data
    data[data.index(b'"n":4')] ^= 255
    driver.flush()
    sent: list[int] = []
    while driver.out:
        sent += numbers(driver.batch())
        driver.accept()
    assert sorted(sent) == [3, 4, 5]
    assert [result_of(each).success for each in rest] == [True, True]
    assert driver.outbox.backlog.own.held == set()


def test_a_window_has_no_more_bytes_than_four_mebibytes() -> None:
    """Nor than half of the memory's."""
    for most, size_ in ((1 << 30, 4 << 20), (8 << 20, 4 << 20), (7 << 20, 7 << 19)):
        driver = LiveDriver(LiveLog(), max_queue_bytes=most)
        driver.sign_in()
        driver.look()
        assert driver.log.size_asked == size_


@pytest.mark.parametrize(("length", "left"), [(1 << 24, 7), ((1 << 24) + 1, None)])
def test_logs_of_sixteen_mebibytes_are_counted(
    length: int, left: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More would take long at the end of a client."""
    log = SimpleNamespace(size=length, left=lambda: (7, length, None))
    driver = SpoolDriver()
    monkeypatch.setattr(type(driver.spool), "own", log)
    assert driver.outbox.backlog.left() == left


def test_a_read_for_customers_that_return_puts_no_look_off() -> None:
    """The end of a live log is looked at by its own clock, while they are read from the start."""
    backlog = LiveDriver(LiveLog()).outbox.backlog
    source = Source(LiveLog(), [])
    source.look_at = 5.0
    backlog._read(source, True, 1, 7.0)
    assert source.look_at == 5.0
    backlog._read(source, False, 1, 7.0)
    assert source.look_at == 8.0
