"""A rejected batch is halved until only the events at fault fail
(``docs/reference/guarantees.md#rejected-batches``)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.errors import MasivoError, MasivoNetworkError
from masivo.protocol import Failed

from .simulator import START, Driver, error_of, header, in_batch, numbers, payload, result_of


def judge(driver: Driver, bad: set[int], status: int = 422) -> list[list[int]]:
    """Respond to batches as the API does until none is out: it rejects the whole batch of a bad
    event. Return the batches, in order."""
    batches: list[list[int]] = []
    while driver.out:
        assert len(batches) < 500, "the batches do not end"
        which = numbers(driver.batch())
        batches.append(which)
        if bad.isdisjoint(which):
            driver.accept()
        else:
            driver.respond(status, {"error": f"bad among {which}"})
    return batches


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_rejected_batch_is_halved_in_order(status: int) -> None:
    """400, 413 and 422 halve a batch of several, and the halves go in order, so that only the
    event at fault fails."""
    driver = Driver()
    _, deliveries = in_batch(driver, *range(8))
    batches = judge(driver, {5}, status)
    assert batches == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [4, 5],
        [4],
        [5],
        [6, 7],
    ]
    for number, delivery in enumerate(deliveries):
        if number == 5:
            error = error_of(delivery)
            assert type(error) is MasivoError
            assert (error.status, error.message) == (status, "bad among [5]")
        else:
            assert result_of(delivery).success


def test_every_part_is_a_new_batch_with_its_own_key() -> None:
    """Each part has an ``Idempotency-Key`` of its own; a retry of a part has the part's."""
    driver = Driver()
    driver.dice.always = 0.0
    in_batch(driver, 1, 2)
    driver.respond(400)
    driver.respond(503)
    driver.accept()
    driver.accept()
    keys = [header(each, "idempotency-key") for each in driver.sent[1:]]
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_the_parts_carry_the_same_stamps() -> None:
    """A part's events are sent as in the batch, ``issued_at`` included."""
    driver = Driver()
    request, _ = in_batch(driver, 1, 2)
    driver.advance(5.0)
    driver.respond(400)
    assert payload(driver.batch()) == payload(request)[:1]


def test_every_part_has_all_its_repeats() -> None:
    """A part is retried like any batch, ``max_retries`` times."""
    driver = Driver(max_retries=2)
    driver.dice.always = 0.0
    _, deliveries = in_batch(driver, 1, 2)
    driver.respond(503)
    driver.respond(503)
    driver.respond(400)
    for _ in range(3):
        driver.respond(503)
    for _ in range(2):
        driver.respond(503)
    driver.accept()
    assert error_of(deliveries[0]).status == 503
    assert result_of(deliveries[1]).success


def test_a_part_waits_where_the_part_before_it_stopped() -> None:
    """A part is a batch: after a part that failed for want of a good response, the next one waits
    first."""
    driver = Driver(max_retries=0, refresh_interval=None)
    _, deliveries = in_batch(driver, 1, 2)
    driver.respond(400)
    driver.dice.fix(0.5)
    driver.respond(503)
    assert deliveries[0].done()
    assert driver.out == []
    assert driver.wake_at == START + 0.25
    driver.sleep()
    assert numbers(driver.batch()) == [2]


def test_a_rejection_without_isolation_ends_the_batch() -> None:
    """With ``isolate_rejected=False`` the whole batch takes the response."""
    driver = Driver(isolate_rejected=False)
    _, deliveries = in_batch(driver, 1, 2, 3)
    driver.respond(422, {"error": "bad"})
    assert [error_of(each).message for each in deliveries] == ["bad"] * 3
    assert driver.out == []


@pytest.mark.parametrize("status", [401, 403, 404, 409])
def test_other_statuses_are_not_isolated(status: int) -> None:
    """Only 400, 413 and 422 blame single events."""
    driver = Driver()
    _, deliveries = in_batch(driver, 1, 2)
    driver.respond(status)
    if status == 401:
        driver.grant()
        driver.respond(status)
    assert [error_of(each).status for each in deliveries] == [status] * 2


def test_halving_stops_after_8_events_in_a_row_rejected_alone() -> None:
    """After 8 events in a row rejected alone, each part that is left is sent once as a whole."""
    driver = Driver()
    _, deliveries = in_batch(driver, *range(32))
    batches = judge(driver, set(range(32)))
    alone = [each for each in batches if len(each) == 1]
    assert alone == [[number] for number in range(8)]
    assert batches[batches.index([7]) + 1 :] == [list(range(8, 16)), list(range(16, 32))]
    assert all(error_of(each).status == 422 for each in deliveries)


def test_halving_stops_for_good() -> None:
    """Once halving has stopped, a part that is accepted does not bring it back: each part that is
    left is sent once."""
    driver = Driver()
    in_batch(driver, *range(32))
    bad = {*range(8), 20}
    assert judge(driver, bad)[-2:] == [list(range(8, 16)), list(range(16, 32))]


def test_an_accepted_part_starts_the_row_anew() -> None:
    """An accepted event between them breaks the row of 8."""
    driver = Driver()
    _, deliveries = in_batch(driver, *range(32))
    good = {7, 15, 23, 31}
    judge(driver, set(range(32)) - good)
    assert {n for n, each in enumerate(deliveries) if not isinstance(each.claim(), Failed)} == good


def test_only_rejections_count_for_the_row() -> None:
    """A part of one event that failed for want of a response was not rejected: it does not count
    towards the 8."""
    driver = Driver(max_retries=0)
    driver.dice.always = 0.0
    _, deliveries = in_batch(driver, *range(32))
    while driver.out:
        which = numbers(driver.batch())
        if len(which) > 1 and which[0] < 16:
            driver.respond(422)
        elif which[0] < 16:
            driver.break_off()
        elif which == [20] or len(which) > 1:
            driver.respond(422) if 20 in which else driver.accept()
        else:
            driver.accept()
    assert {type(error_of(each)) for each in deliveries[:16]} == {MasivoNetworkError}
    assert [n for n in range(16, 32) if isinstance(deliveries[n].claim(), Failed)] == [20]


def test_a_batch_of_one_takes_its_response() -> None:
    """A batch of one event that is rejected fails, and is not sent again."""
    driver = Driver()
    _, (delivery,) = in_batch(driver, 1)
    driver.respond(422, {"error": "no", "details": ["n"]})
    assert error_of(delivery).details == ["n"]
    assert driver.out == []


def test_later_events_wait_behind_all_parts() -> None:
    """Later events go when the last part has its outcome."""
    driver = Driver(batch_size=2)
    driver.sign_in()
    driver.send_numbers(1, 2, 3, 4)
    assert judge(driver, {1}) == [[1, 2], [1], [2], [3, 4]]


def test_a_401_on_a_part_brings_a_fresh_token() -> None:
    """A part whose token is not accepted goes once more with a fresh one; each part anew."""
    driver = Driver()
    _, deliveries = in_batch(driver, 1, 2)
    driver.respond(400)
    driver.respond(401)
    driver.grant()
    driver.accept()
    driver.respond(401)
    driver.grant()
    driver.accept()
    assert all(result_of(each).success for each in deliveries)


@given(st.integers(1, 40), st.data())
def test_exactly_the_events_at_fault_fail(count: int, data: st.DataObject) -> None:
    """With no 8 bad events in a row, exactly the bad ones fail, each event is accepted at most
    once and in order, however they lie."""
    bad = data.draw(st.sets(st.integers(0, count - 1)))
    bad -= {number for number in bad if number % 8 == 7}
    driver = Driver()
    _, deliveries = in_batch(driver, *range(count))
    accepted = [n for each in judge(driver, bad) if bad.isdisjoint(each) for n in each]
    assert accepted == [number for number in range(count) if number not in bad]
    failed = {n for n, each in enumerate(deliveries) if isinstance(each.claim(), Failed)}
    assert failed == bad
    assert driver.buffer.stats().in_flight == 0


def test_only_rejections_that_blame_events_count_towards_the_end_of_halving() -> None:
    """Parts of one event that fail for another reason do not stop the halving."""
    driver = Driver(batch_size=20)
    driver.dice.always = 0.0
    _, deliveries = in_batch(driver, *range(20))
    lone = 0
    while driver.out:
        alone = len(numbers(driver.batch())) == 1
        lone += alone
        driver.respond(409 if alone else 422)
    assert lone == len(deliveries)


def test_a_broken_response_does_not_count_towards_the_end_of_halving() -> None:
    """A response that began with a rejection and then broke off blames nobody."""
    driver = Driver(batch_size=20, max_retries=0)
    driver.dice.always = 0.0
    _, deliveries = in_batch(driver, *range(20))
    lone = 0
    while driver.out:
        if len(numbers(driver.batch())) == 1:
            lone += 1
            driver.break_off("cut", status=422)
        else:
            driver.respond(422)
    assert lone == len(deliveries)
