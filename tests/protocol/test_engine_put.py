"""Events that were encoded elsewhere, and clients whose driver reports their failures itself."""

from __future__ import annotations

import gc
from email.utils import formatdate

import pytest

from masivo import MasivoClosedError
from masivo._protocol.events.form import size
from masivo._protocol.json import encode
from masivo.protocol import StoreError

from .requests import numbers
from .simulator import START, WALL, Driver, error_of, event, result_of
from .spool.outages import outage, recover
from .spooled import SpoolDriver

STAMP = b'{"issued_at":"'


def test_an_event_that_was_encoded_elsewhere_is_sent_byte_for_byte() -> None:
    """Only a missing ``issued_at`` is added, in front; brand and spaces stay as they are."""
    driver = SpoolDriver(brand_id="shoes", before_send=lambda _: None)
    complete = b'{ "issued_at" : "2026-01-01T00:00:00Z", "type": "X", "customer_id": "c" }'
    bare = b' "type": "X", "customer_id": "c", "platform": "web" }'
    deliveries = driver.buffer.put_all([(complete, "c"), (bare, "c")])
    driver.flush()
    driver.grant()
    body = driver.batch().body
    assert complete in body
    assert STAMP in body
    assert body.endswith(bare + b"]}")
    driver.accept()
    assert [result_of(each).success for each in deliveries] == [True, True]


def test_a_closed_client_takes_no_encoded_event() -> None:
    """As it takes no other, from the call to close on."""
    driver = SpoolDriver()
    driver.buffer.close(None)
    for _ in range(2):
        with pytest.raises(MasivoClosedError):
            driver.buffer.put_all([(b"{}", "c")])
        driver.poll()
    assert driver.closed
    assert driver.files() == []


def encoded(*these: int) -> list[tuple[bytes, str]]:
    """Events that were encoded elsewhere."""
    return [(encode(event(n))[1:], "c") for n in these]


def test_of_a_batch_that_was_encoded_elsewhere_all_is_accepted_or_nothing() -> None:
    """Not the part that a full disk has taken, neither now nor by whoever comes next; nothing of it
    counts as damaged."""
    driver = SpoolDriver(max_queue=3)
    driver.buffer.silence()
    driver.buffer.put_all(encoded(1, 2))
    large = [(b" " * 1_000 + each, customer) for each, customer in encoded(*range(10, 5_010))]
    for lost in (encoded(*range(1_000)), large):  # the half of it is more than is read at once
        driver.disk.full = True
        with pytest.raises(StoreError):
            driver.buffer.put_all(lost)
        driver.disk.full = False
        driver.buffer.put_all(encoded(len(lost), len(lost) + 1))
    driver.flush()
    delivered = {n for each in recover(driver) for n in numbers(each)}
    assert delivered == {1, 2, 1_000, 1_001, 5_000, 5_001}
    driver.close()
    assert driver.warnings == []
    assert driver.files() == []


def test_a_batch_that_memory_has_no_room_for_is_read_from_the_store() -> None:
    """In windows that are smaller than it, each event once, in order; by the next client, too."""
    driver = SpoolDriver(max_queue=7, batch_size=5)
    deliveries = driver.buffer.put_all(encoded(*range(100)))
    assert all(error_of(each).spooled for each in deliveries)
    assert [n for each in recover(driver) for n in numbers(each)] == [*range(100)]
    driver.buffer.put_all(encoded(*range(100, 200)))
    driver.process.kill()
    heir = SpoolDriver(driver.disk, max_queue=7, batch_size=5)
    heir.buffer.use()
    assert [n for each in recover(heir) for n in numbers(each)] == [*range(100, 200)]


def test_a_batch_that_fills_memory_is_in_memory() -> None:
    """To the last event, and to the last byte."""
    small = encoded(1, 2, 3)
    length = sum(size(each) for each, _ in small)
    for driver in (SpoolDriver(max_queue=3), SpoolDriver(max_queue_bytes=length)):
        assert not any(each.done() for each in driver.buffer.put_all(small))
    for driver in (SpoolDriver(max_queue=2), SpoolDriver(max_queue_bytes=length - 1)):
        assert all(each.done() for each in driver.buffer.put_all(small))


def test_events_that_were_encoded_elsewhere_are_counted_at_once() -> None:
    """Before any poll: they fill memory for the next ones, and a full batch wakes the driver."""
    driver = SpoolDriver(max_queue=3, batch_size=2)
    driver.sign_in()
    driver.send_numbers(0)
    wakes = driver.wakes
    driver.buffer.put_all(encoded(1))
    assert driver.wakes == wakes + 1
    assert not driver.buffer.send(event(2)).done(), "memory has room"
    (third,) = driver.buffer.put_all(encoded(3))
    assert error_of(third).spooled
    driver.poll()
    assert numbers(driver.batch()) == [0, 1]
    driver = SpoolDriver()
    driver.sign_in()
    driver.send_numbers(0)
    wakes = driver.wakes
    driver.buffer.put_all(encoded(1))
    assert driver.wakes == wakes, "nothing is due"


def test_a_disk_that_takes_no_encoded_events_has_no_room() -> None:
    """The driver is woken, to send what waits; a drain waits until the disk may be tried again."""
    driver = SpoolDriver()
    driver.sign_in()
    driver.send_numbers(0)
    driver.disk.full = True
    wakes = driver.wakes
    with pytest.raises(StoreError):
        driver.buffer.put_all(encoded(1))
    assert driver.wakes == wakes + 1
    assert driver.buffer.drain().outcome is None
    driver.poll()
    assert numbers(driver.batch()) == [0]


def test_encoded_events_have_the_time_of_their_acceptance() -> None:
    """By the server's clock, where it is known."""
    driver = SpoolDriver()
    driver.sign_in(headers={"date": formatdate(WALL + 3_600, usegmt=True)})
    driver.buffer.put_all(encoded(1))
    driver.process.kill()
    heir = SpoolDriver(driver.disk)
    heir.sign_in(headers={"date": formatdate(WALL + 3_600, usegmt=True)})
    (request,) = recover(heir)
    assert b'"issued_at":"2026-01-01T01:00:00.000Z"' in request.body


def test_an_event_stays_behind_a_batch_that_memory_has_no_room_for() -> None:
    """Also one that is sent before the call that brought the batch returns."""
    driver = SpoolDriver(max_queue=7)
    driver.spool.after = lambda: driver.buffer.send(event(10))
    driver.buffer.put_all(encoded(*range(10)))
    assert [n for each in recover(driver, 120.0) for n in numbers(each)] == [*range(11)]


def test_what_is_no_event_is_removed_as_damage() -> None:
    """Where it is read back from the store; it counts as spooled no more."""
    driver = SpoolDriver(max_queue=1)
    driver.buffer.put_all([(b"no event", "c"), *encoded(1, 2)])
    driver.poll()
    assert driver.buffer.stats().spooled == 2
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[1], [2]]
    assert any("1 part could not be read" in line for line in driver.warnings)
    assert driver.buffer.stats().spooled == 0
    driver.close()
    assert driver.files() == []


def test_a_client_without_a_store_takes_no_encoded_event() -> None:
    """Nothing could be kept."""
    with pytest.raises(StoreError, match="this client has no store"):
        Driver().buffer.put_all(encoded(1))


def test_a_silent_client_warns_of_nothing_that_its_driver_can_learn() -> None:
    """Not of unclaimed failures, not of an outage, not of events that are on disk alone; a client
    beside it does."""
    for silent in (True, False):
        driver = SpoolDriver(max_retries=0, max_queue=2)
        if silent:
            driver.buffer.silence()
        for n in range(3):
            driver.buffer.send(event(n))
        driver.flush()
        outage(driver, 60.0)
        batches = recover(driver)
        assert sorted(n for each in batches for n in numbers(each)) == [0, 1, 2]
        driver.buffer.send(event(9))
        driver.flush()
        driver.respond(422, {"error": "no"})
        gc.collect()
        driver.advance(60.0)
        assert bool(driver.warnings) is not silent


def test_the_server_s_time_is_the_wall_clock_s_until_a_response_tells_it() -> None:
    """A little behind, and marked as such."""
    driver = Driver()
    assert driver.buffer.server_time() == (WALL - 2.0, False)
    driver.sign_in(headers={"date": formatdate(WALL + 3_600, usegmt=True)})
    driver.now += 5.0
    at, is_known = driver.buffer.server_time()
    assert is_known
    assert at == pytest.approx(WALL + 3_605)
    assert driver.now == START + 5.0


def test_the_server_s_time_for_others_comes_from_a_2xx_alone() -> None:
    """A ``Date`` of another status may be of something before the API: neither the first one counts
    nor a later one."""
    driver = Driver()
    driver.send(event(1))
    driver.flush()
    wrong = {"date": formatdate(WALL + 500_000, usegmt=True)}
    driver.respond(503, headers=wrong)
    driver.sleep()
    assert driver.buffer.server_time() == (driver.now - START + WALL - 2.0, False)
    driver.grant(headers={"date": formatdate(WALL + 3_600, usegmt=True)})
    driver.respond(503, headers=wrong)
    assert driver.buffer.server_time() == (WALL + 3_600, True)
