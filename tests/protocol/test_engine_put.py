"""Events that were encoded elsewhere, and clients whose driver reports their failures itself."""

from __future__ import annotations

import gc
from email.utils import formatdate

import pytest

from masivo import MasivoClosedError

from .requests import numbers
from .simulator import START, WALL, Driver, event, result_of
from .spooled import SpoolDriver
from .test_engine_spool import outage, recover

STAMP = b'{"issued_at":"'


def test_an_event_that_was_encoded_elsewhere_is_sent_byte_for_byte() -> None:
    """Only a missing ``issued_at`` is added, in front; brand and spaces stay as they are."""
    driver = Driver(brand_id="shoes", before_send=lambda _: None)
    complete = b'{ "issued_at" : "2026-01-01T00:00:00Z", "type": "X", "customer_id": "c" }'
    bare = b' "type": "X", "customer_id": "c", "platform": "web" }'
    deliveries = [driver.buffer.put(complete, "c"), driver.buffer.put(bare, "c")]
    driver.flush()
    driver.grant()
    body = driver.batch().body
    assert complete in body
    assert STAMP in body
    assert body.endswith(bare + b"]}")
    driver.accept()
    assert [result_of(each).success for each in deliveries] == [True, True]


def test_a_closed_client_takes_no_encoded_event() -> None:
    """As it takes no other."""
    driver = Driver()
    driver.close()
    with pytest.raises(MasivoClosedError):
        driver.buffer.put(b"{}", "c")


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
