"""Files that are deleted, a client that is disabled, and work on a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo._protocol.batches import backlog
from masivo._protocol.batches.adoption import SCAN
from masivo._protocol.batches.backlog import Removal
from masivo.protocol import (
    Api,
    FlushResult,
    StoreError,
    StoreWork,
    unwrap,
)
from protocol.requests import numbers, payload
from protocol.simulator import Driver, error_of, event, result_of
from protocol.spooled import SpoolDriver

from .outages import delivers_the_rest, in_flight, killed, outage, recover

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Delivery


# ── Stored again, and other cases ────────────────────────────────────────────────────────────────


def test_a_disabled_client_stores_nothing() -> None:
    """Nor does it look for what others have left."""
    driver = SpoolDriver(enabled=False)
    driver.send_numbers(1)
    driver.flush()
    assert driver.files() == []


def test_a_client_whose_files_were_deleted_stores_its_events_once_more() -> None:
    """One warning says so; nothing is lost or doubled."""
    driver = SpoolDriver()
    driver.send_numbers(1, 2)
    driver.disk.files.clear()
    driver.advance(31.0)
    said = "were deleted, or closed by other code; its events in memory (2) are stored again"
    assert [line for line in driver.warnings if said in line] != []
    after = killed(driver)
    after.flush()
    assert sorted(n for each in recover(after) for n in numbers(each)) == [1, 2]


def test_an_event_that_is_stored_again_keeps_the_time_of_its_call() -> None:
    """The next process dates it by that."""
    driver = SpoolDriver()
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    driver.send_numbers(1)
    driver.disk.files.clear()
    driver.advance(31.0)
    after = killed(driver)
    after.wall += 31.0
    after.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:31 GMT"})
    after.flush()
    (request,) = recover(after)
    assert payload(request)[0]["issued_at"] == "2026-01-01T00:00:00.000Z"


def test_an_event_that_was_stored_again_leaves_the_disk_when_it_is_delivered() -> None:
    """The log that took the place of the lost one; and nothing of it stays in memory."""
    driver = SpoolDriver()
    request = in_flight(driver, 1)
    driver.disk.files.clear()
    driver.advance(31.0)
    driver.accept(request)
    assert driver.outbox.backlog.own.held == set()
    after = killed(driver)
    after.flush()
    assert recover(after) == []


def test_an_event_that_was_stored_again_is_not_read_from_there() -> None:
    """It is still in memory, and in flight."""
    driver = SpoolDriver(max_queue=2, batch_size=1, max_in_flight=2)
    driver.sign_in()
    driver.send(event(1, "a"), event(2, "b"))
    first, second = driver.out
    driver.disk.files.clear()
    driver.advance(31.0)
    driver.send(event(3, "c"))
    driver.accept(first)
    driver.accept(second)
    assert [numbers(each) for each in recover(driver)] == [[3]]


def test_an_event_that_is_delivered_while_it_is_stored_again_leaves_the_disk() -> None:
    """From the place where it was stored again, which nobody knew yet."""
    driver = SpoolDriver()
    request = in_flight(driver, 1)
    driver.disk.files.clear()
    driver.held = True
    driver.advance(31.0)
    while not any("are stored again" in line for line in driver.warnings):
        driver.work()
    driver.accept(request)
    driver.work()
    (work,) = driver.works
    (removal,) = work.steps
    assert isinstance(removal, Removal)
    assert len(removal.positions) == 2, "one of each place"
    while driver.works:
        driver.work()
    after = killed(driver)
    after.flush()
    assert recover(after) == []


def test_a_flush_waits_for_others_when_one_is_at_fault() -> None:
    """Only in an outage is there no use in waiting for what was left before."""
    driver = SpoolDriver(max_retries=0, batch_size=2)
    driver.send(*(event(number, "abc"[number // 2]) for number in range(6)))
    outage(driver, 20.0)
    flush = driver.flush()
    driver.poll()
    driver.accept()
    driver.respond(503, to=driver.batch())
    assert flush.claim() is None
    recover(driver)
    assert flush.claim() == FlushResult(4, 0, 2)


def test_what_is_due_in_a_long_hold_is_left_at_once() -> None:
    """A batch that could go, and not a single event that would wait anyway."""
    driver = SpoolDriver(batch_size=2)
    driver.respond(429, headers={"retry-after": "4000"}, to=in_flight(driver, 1))
    (one,) = driver.send(event(2, "other"))
    driver.poll()
    assert one.claim() is None
    (two,) = driver.send(event(3, "other"))
    driver.poll()
    assert [error_of(each).status for each in (one, two)] == [429, 429]


def test_an_event_that_is_left_while_it_is_stored_again_stays_on_disk() -> None:
    """Its delivery has ended, but not the event: the next process delivers it."""
    driver = SpoolDriver(max_retries=0)
    request = in_flight(driver, 1)
    driver.disk.files.clear()
    driver.held = True
    driver.advance(31.0)
    while not any("are stored again" in line for line in driver.warnings):
        driver.work()
    driver.respond(503, to=request)
    while driver.works:
        driver.work()
    after = killed(driver)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]


def test_an_event_that_cannot_be_stored_again_is_sent_all_the_same() -> None:
    """From memory alone, as when the disk is full by then."""
    driver = SpoolDriver()
    request = in_flight(driver, 1)
    (waiting,) = driver.send_numbers(2)
    driver.disk.files.clear()
    driver.held = True
    driver.advance(31.0)
    while not any("are stored again" in line for line in driver.warnings):
        driver.work()
    driver.disk.full = True
    driver.held = False
    driver.work()
    assert driver.outbox.backlog.own.held == set()
    driver.accept(request)
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[2]]
    assert result_of(waiting).success
    assert driver.buffer.stats().delivered == 2


# ── Work on a store ──────────────────────────────────────────────────────────────────────────────


def test_whatever_a_store_raises_is_the_result_of_its_step() -> None:
    """The other steps are done."""
    broken, done = StoreWork(1, [lambda: 1 // 0, lambda: 5]).run().results
    assert isinstance(broken, StoreError)
    assert str(broken).startswith("the store raised ZeroDivisionError: ")
    assert done == 5


def test_work_that_is_interrupted_is_handed_back() -> None:
    """Else its client would wait for it for ever: each step counts as failed."""
    driver = SpoolDriver()
    driver.held = True
    driver.send_numbers(1)
    driver.flush()
    work = driver.works.pop(0)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver.engine.do_work(StoreWork(work.id, [interrupt] * len(work.steps)))
    assert len(work.interrupted.results) == len(work.steps)
    driver.held = False
    driver.poll()
    assert [numbers(each) for each in recover(driver)] == [[1]]


def test_no_secret_is_on_disk() -> None:
    """Neither the key nor a token."""
    driver = SpoolDriver()
    token = driver.sign_in()
    in_flight(driver, 1, 2)
    for file in driver.disk.files.values():
        assert driver.settings.account.api_key.reveal().encode() not in file.data
        assert token.encode() not in file.data
    assert driver.files()


def test_a_batch_that_was_never_given_up_goes_when_the_key_has_rested() -> None:
    """It stepped aside because of the key, and waits for nothing else."""
    driver = SpoolDriver(max_in_flight=2, batch_size=1, refresh_interval=None)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.send(event(1, "a"), event(2, "b"))
    first, second = driver.out
    driver.respond(503, to=first)
    driver.respond(401, to=second)
    driver.grant()
    (again,) = [each for each in driver.out if numbers(each) == [2]]
    driver.respond(401, to=again)
    assert [numbers(each) for each in driver.out] == []
    began = driver.now
    sent = recover(driver, 31.0)
    assert sorted(numbers(each) for each in sent) == [[1], [2]]
    assert driver.now == began + 31.0


def test_what_stepped_aside_is_tried_on_time_though_a_hold_ends_before() -> None:
    """At the end of the hold it is not due yet, and nothing else has to wake the driver then."""
    driver = SpoolDriver(max_retries=0, refresh_interval=None)
    driver.dice.always = 1.0
    in_flight(driver, 1)
    for _ in range(4):
        driver.respond(503)
        driver.sleep()
    driver.respond(429, headers={"retry-after": "1"})
    failed = driver.now
    driver.sleep()
    assert driver.now == failed + 1.0
    assert driver.out == []
    driver.sleep()
    assert driver.now == failed + 8.0
    assert numbers(driver.batch()) == [1]


def test_deliveries_of_a_batch_that_waits_for_a_retry_end_in_a_long_hold() -> None:
    """Another batch's response began it; nothing of the key is sent before it is over."""
    driver = SpoolDriver(max_in_flight=2, batch_size=1, refresh_interval=None)
    driver.sign_in()
    waits, held = driver.send(event(1, "a"), event(2, "b"))
    first, second = driver.out
    driver.respond(503, to=first)
    assert not waits.done()
    driver.respond(429, to=second, headers={"retry-after": "4000"})
    assert [error_of(each).status for each in (waits, held)] == [429, 429]
    assert [error_of(each).spooled for each in (waits, held)] == [True, True]
    assert driver.wake_at == driver.now + 5.0, "more warnings, and no retry"


def test_deliveries_end_whose_events_make_room_for_others() -> None:
    """They waited in memory behind a batch of their customer that failed; they stay on disk."""
    driver = SpoolDriver(max_retries=0, max_queue=4, batch_size=2)
    in_flight(driver, 0, 1)
    driver.respond(503)
    behind = driver.send_numbers(2, 3)
    assert not any(each.done() for each in behind)
    driver.send(event(10, "other"))
    assert [error_of(each).message for each in behind] == ["older events wait on disk"] * 2
    assert all(error_of(each).spooled for each in behind)


def test_events_stay_in_memory_while_there_is_room_to_read_others() -> None:
    """They would have to be read once more."""
    driver = SpoolDriver(max_retries=0, max_queue=4, batch_size=2)
    driver.dice.always = 1.0
    in_flight(driver, 0, 1)
    driver.send(event(2), event(10, "other"), event(11, "other"))
    driver.respond(503)
    driver.sleep()
    assert numbers(driver.batch()) == [10]
    driver.accept()
    assert driver.outbox.pending == 4


def test_an_event_that_was_not_sent_fails_ten_times_after_that() -> None:
    """Each failure counts once it has been sent, and none before."""
    driver = SpoolDriver(max_retries=0, refresh_interval=None)
    driver.dice.always = 1.0
    driver.break_off(to=in_flight(driver, 0), sent=False)
    for number, tries in ((10, 1), (11, 9)):
        driver.send(event(number, "other"))
        driver.flush()
        driver.sleep()
        assert numbers(driver.batch()) == [number]
        driver.accept()
        for _ in range(tries):
            assert driver.buffer.stats().failed == 0
            while not driver.out:
                driver.sleep()
            assert numbers(driver.batch()) == [0]
            driver.respond(500)
    assert driver.buffer.stats().failed == 1


@pytest.mark.parametrize("make", [Driver, SpoolDriver])
def test_a_client_that_ended_wakes_nobody(make: type[Driver]) -> None:
    """It waits for no trigger, no retry and no deadline any more; another client of the key goes
    on."""
    driver = make(refresh_interval=None)
    driver.client()
    driver.buffer.silence()  # no warning is to be written later
    driver.sign_in()
    driver.send_numbers(1)
    driver.flush()
    driver.respond(503)
    driver.send_numbers(2)
    driver.close(100.0)
    assert driver.wake_at is not None
    driver.buffer.destroy()
    driver.poll()
    assert driver.wake_at is None


def test_a_flush_in_a_long_hold_ends_for_what_waits_behind_a_batch() -> None:
    """It could not be sent, even if it were due."""
    driver = SpoolDriver(max_retries=0)
    driver.respond(429, headers={"retry-after": "4000"}, to=in_flight(driver, 1))
    (behind,) = driver.send_numbers(2)
    ticket = driver.flush()
    assert unwrap(ticket.claim()) == FlushResult(0, 0, 2)
    assert error_of(behind).spooled


def test_what_is_left_of_a_part_stays_before_the_next_one() -> None:
    """An event of the first half became too old while it waited; the others keep their order."""
    driver = SpoolDriver(api=Api(max_age=60.0), batch_size=4)
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:55 GMT"})
    driver.send(event(0, issued_at="2026-01-01T00:00:00Z"), *(event(n) for n in (1, 2, 3)))
    driver.respond(422)
    assert numbers(driver.batch()) == [0, 1]
    driver.respond(503, headers={"retry-after": "10"})
    driver.sleep()
    assert [numbers(each) for each in recover(driver)] == [[1], [2, 3]]


def test_a_failure_sends_nothing_that_stepped_aside() -> None:
    """Only what the API accepts shows that it is well, and not a retry of what it does not."""
    driver = SpoolDriver(max_retries=0, max_in_flight=2, batch_size=1, refresh_interval=None)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.send(event(0, "a"), event(1, "b"))
    for request in list(driver.out):
        driver.respond(500, to=request)
    driver.send(event(2, "c"))
    driver.sleep()
    (accepted,) = [each for each in driver.out if numbers(each) == [2]]
    for other in [each for each in driver.out if each is not accepted]:
        driver.respond(403, to=other)
    driver.accept(accepted)
    again = {numbers(each)[0]: each for each in driver.out}
    assert sorted(again) == [0, 1]
    driver.respond(403, to=again[1])
    driver.respond(500, to=again[0])
    assert driver.out == []


def test_a_flush_waits_for_a_batch_that_another_process_may_have_sent() -> None:
    """It is adopted after the call; the rest of its log is empty."""
    first = SpoolDriver()
    in_flight(first, 1)
    driver = killed(first)
    ticket = driver.flush()
    driver.grant()
    assert numbers(driver.batch()) == [1]
    assert ticket.claim() is None
    driver.accept()
    assert unwrap(ticket.claim()) == FlushResult(1, 0, 0)


def test_nothing_that_stepped_aside_wakes_nobody() -> None:
    """It was accepted before its time, directly after another batch."""
    driver = SpoolDriver(max_retries=0, refresh_interval=None, batch_size=1)
    driver.dice.always = 1.0
    began = driver.now
    in_flight(driver, 1)
    for _ in range(4):
        driver.respond(403)
        driver.sleep()
    driver.respond(403)
    driver.send(event(2, "other"))
    for which in ([2], [1]):
        assert numbers(driver.batch()) == which
        driver.accept()
    assert driver.now < began + 10.0
    assert driver.wake_at == began + SCAN


def test_memory_is_bounded_where_everybody_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a window is read beyond ``max_queue`` to find out who does not."""
    monkeypatch.setattr(backlog, "WINDOW", 8)
    driver = SpoolDriver(max_retries=0, max_queue=4, batch_size=2)
    driver.sign_in()
    driver.send(*(event(n, f"c{n}") for n in range(40)))
    pending = [driver.outbox.pending]
    while driver.out:
        driver.respond(403)
        pending.append(driver.outbox.pending)
    assert pending == [4, 4, 6, 8, 10, 12, 12]


def test_every_event_counts_while_another_s_call_is_not_over() -> None:
    """It was stored alone, and read before its call says so; a later one waits in the buffer."""
    driver = SpoolDriver(max_queue=3)
    in_flight(driver, 0, 1, 2)
    accepted: list[int] = []

    def meanwhile() -> None:
        driver.accept()
        driver.buffer.send(event(5))
        driver.poll()
        accepted.append(driver.buffer.stats().accepted)

    driver.send_numbers(3)
    driver.spool.after = meanwhile
    driver.send_numbers(4)
    assert accepted == [6]
    delivers_the_rest(driver, [3, 4, 5], of=6)


def test_who_comes_after_an_event_without_room_is_behind_it_at_once() -> None:
    """Before the driver knows of it: a poll may make room meanwhile."""
    driver = SpoolDriver(max_queue=1)
    gate, plain = driver.outbox.gate, driver.buffer._input
    behind: list[bool] = []

    def noted(item: Delivery | Callable[[], None]) -> None:
        behind.append(gate.behind)
        plain(item)

    driver.buffer._input = noted
    driver.spool.after = lambda: driver.buffer.send(event(1))  # takes the room
    assert error_of(driver.buffer.send(event(2))).spooled
    assert behind == [False, True]


def test_a_batch_that_was_noted_is_as_old_as_its_stamps() -> None:
    """They are what the API sees, whatever the clock said when its events were stored."""
    date = {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    first = SpoolDriver()
    first.wall -= 360_000.0
    first.send_numbers(1)
    first.flush()
    first.grant(headers=date)
    body = first.batch().body
    driver = killed(first)
    driver.buffer.use()
    driver.sign_in(headers=date)
    assert driver.batch().body == body
