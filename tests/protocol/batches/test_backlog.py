"""When events on disk are read, and what of them counts
(``docs/reference/guarantees.md#memory-with-a-spool``)."""

from __future__ import annotations

from masivo._protocol.batches.adoption import LOOK
from masivo._protocol.batches.backlog import WINDOW
from masivo._protocol.storage.store import Window
from masivo.protocol import FlushResult, StoreDone, StoreError, unwrap
from protocol.live import LiveDriver, LiveLog
from protocol.requests import numbers
from protocol.simulator import event
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
    done = list(work.run().results)
    assert len(done) == 2, "a removal, and a read"
    driver.engine.hand_back(work.id, StoreDone([done[0], StoreError("no")]))
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


def test_a_window_is_read_when_half_of_the_last_has_gone() -> None:
    """No earlier: about a window of events is in memory."""
    driver = LiveDriver(LiveLog(), max_in_flight=1, batch_size=100)
    driver.sign_in()
    driver.put(*range(2 * WINDOW))
    driver.look()
    taken: list[int] = []
    while driver.out:
        taken.append(driver.buffer.stats().adopted)
        driver.accept()
    assert taken == [WINDOW] * 5 + [2 * WINDOW] * 15


def test_a_live_log_at_its_end_is_looked_at_by_its_own_clock() -> None:
    """A second after the read began, whenever that of another log was."""
    driver = LiveDriver(LiveLog())
    driver.sign_in()
    driver.look()
    assert driver.wake_at == driver.now + LOOK


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
