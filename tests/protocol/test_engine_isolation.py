"""A rejected batch is halved until only the events at fault fail
(``docs/reference/guarantees.md#rejected-batches``)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.errors import MasivoError
from masivo.protocol import Delivery, Failed, Request

from .requests import header, is_authorization, numbers, payload
from .simulator import START, Driver, error_of, event, in_batch, result_of
from .spooled import SpoolDriver


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


def by_number(deliveries: list[Delivery], first: int = 0) -> list[tuple[int, Delivery]]:
    """Deliveries, each with the number of its event."""
    return list(enumerate(deliveries, first))


def flushed(driver: Driver, *which: int) -> tuple[Request, list[Delivery]]:
    """Flush these events; the request that is out, and their deliveries."""
    deliveries = driver.send_numbers(*which)
    driver.flush()
    if is_authorization(driver.only()):
        driver.grant()
    return driver.batch(), deliveries


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


def test_no_event_fails_for_anothers_fault() -> None:
    """However many of its neighbours are bad, a good event is delivered: 60 bad events and 40 good
    ones take at most 2 x 100 - 1 requests."""
    driver = Driver()
    _, deliveries = in_batch(driver, *range(100))
    batches = judge(driver, set(range(60)))
    assert len(batches) <= 199
    assert all(
        error_of(each).message == f"bad among [{n}]" for n, each in by_number(deliveries[:60])
    )
    assert all(result_of(each).success for each in deliveries[60:])


def test_a_batch_of_bad_events_is_halved_to_the_end() -> None:
    """Each event is rejected alone, with the reason that is its own."""
    driver = Driver()
    _, deliveries = in_batch(driver, *range(32))
    batches = judge(driver, set(range(32)))
    assert len(batches) == 63
    assert [each for each in batches if len(each) == 1] == [[number] for number in range(32)]
    assert all(error_of(each).message == f"bad among [{n}]" for n, each in by_number(deliveries))


# ── Everything is rejected ───────────────────────────────────────────────────────────────────


def reject_two_batches(driver: Driver) -> None:
    """Have two batches of two events end, of which every event is rejected."""
    for number in (1, 3):
        in_batch(driver, number, number + 1)
        judge(driver, {number, number + 1})
    driver.sent.clear()


def test_the_first_event_goes_alone_after_two_rejected_batches() -> None:
    """After two batches in a row of which every event was rejected, the next batch sends its first
    event alone; once that is accepted, the others go as one, and what follows is as ever."""
    driver = Driver()
    reject_two_batches(driver)
    driver.send_numbers(5, 6, 7)
    driver.flush()
    assert judge(driver, set()) == [[5], [6, 7]]
    driver.send_numbers(8, 9)
    driver.flush()
    assert judge(driver, set()) == [[8, 9]]
    assert driver.warnings == []


@pytest.mark.parametrize("kind", [Driver, SpoolDriver])
def test_while_everything_is_rejected_each_event_goes_alone(kind: type[Driver]) -> None:
    """Each event is sent alone, once, until one is accepted: not two requests for each. One warning
    says that everything is rejected, and to check the events and ``api``. With a store, too."""
    driver = kind()
    reject_two_batches(driver)
    _, deliveries = flushed(driver, *range(10, 14))
    assert judge(driver, set(range(10, 14))) == [[10], [11], [12], [13]]
    (warning,) = driver.warnings
    assert "rejects everything (HTTP 422)" in warning
    assert "check api" in warning
    assert all(error_of(each).status == 422 for each in deliveries)
    flushed(driver, 20, 21, 22, 23)
    assert judge(driver, {20}) == [[20], [21], [22, 23]]
    assert len(driver.warnings) == 1


def test_the_warning_comes_anew_after_an_accepted_event() -> None:
    """An accepted event ends the suspicion; the next time it arises, there is a warning again."""
    driver = Driver()
    for _ in range(2):
        reject_two_batches(driver)
        flushed(driver, 5)
        judge(driver, {5})
        flushed(driver, 6)
        judge(driver, set())
    assert len(driver.warnings) == 2


def test_a_good_event_among_bad_ones_is_found_while_everything_seems_rejected() -> None:
    """Sending alone blames no event for another either: good ones behind bad ones arrive."""
    driver = Driver()
    reject_two_batches(driver)
    _, deliveries = flushed(driver, *range(10, 20))
    judge(driver, {10, 11, 15})
    failed = {n for n, each in by_number(deliveries, 10) if isinstance(each.claim(), Failed)}
    assert failed == {10, 11, 15}


def test_an_accepted_event_breaks_the_row() -> None:
    """A batch of which one event was accepted does not count, and breaks the row."""
    driver = Driver()
    in_batch(driver, 1, 2)
    judge(driver, {1, 2})
    in_batch(driver, 3, 4)
    judge(driver, {3})
    in_batch(driver, 5, 6)
    judge(driver, {5, 6})
    in_batch(driver, 7, 8)


def test_a_batch_without_a_response_neither_counts_nor_breaks_the_row() -> None:
    """A batch that failed for another reason says nothing of what the API rejects."""
    driver = Driver(max_retries=0)
    driver.dice.always = 0.0
    in_batch(driver, 1, 2)
    judge(driver, {1, 2})
    in_batch(driver, 3, 4)
    driver.break_off()
    in_batch(driver, 5, 6)
    driver.respond(422)
    driver.respond(422)
    driver.break_off()
    in_batch(driver, 7, 8)
    judge(driver, {7, 8})
    flushed(driver, 9, 10)


def test_a_retry_is_not_taken_apart() -> None:
    """A batch that was sent before goes again as it was, under its key."""
    driver = Driver(max_in_flight=2, batch_size=2)
    driver.dice.always = 0.0
    driver.sign_in()
    driver.send(event(1, "b"), event(2, "b"))
    waiting = driver.batch()
    for number in (3, 5):
        driver.send(event(number, "a"), event(number + 1, "a"))
        while others := [each for each in driver.out if each is not waiting]:
            driver.respond(422, to=others[0])
    driver.respond(503)
    assert driver.batch().body == waiting.body


def test_without_isolation_nothing_is_sent_alone() -> None:
    """With ``isolate_rejected=False`` a rejected batch does not show that every event is bad."""
    driver = Driver(isolate_rejected=False)
    for first in (1, 3, 5, 7):
        in_batch(driver, first, first + 1)
        driver.respond(422)
    assert driver.warnings == []


def test_each_client_is_suspicious_by_itself() -> None:
    """Another client of the key sends as ever."""
    driver = Driver()
    reject_two_batches(driver)
    other = driver.client()
    driver.send_numbers(5, 6, buffer=other)
    driver.flush(other)
    assert judge(driver, set()) == [[5, 6]]


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


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.data())
def test_exactly_the_events_at_fault_fail(sizes: list[int], data: st.DataObject) -> None:
    """Exactly the bad events fail, and each event is accepted at most once and in order, however
    many are bad and wherever they lie; a batch of n events takes at most 2 n - 1 requests."""
    count = sum(sizes)
    bad = data.draw(st.sets(st.integers(0, count - 1)) | st.just(set(range(count))))
    driver = Driver()
    deliveries: list[Delivery] = []
    accepted: list[int] = []
    for size in sizes:
        which = range(len(deliveries), len(deliveries) + size)
        deliveries += flushed(driver, *which)[1]
        batches = judge(driver, bad)
        assert len(batches) <= 2 * size - 1
        accepted += [n for each in batches if bad.isdisjoint(each) for n in each]
    assert accepted == [number for number in range(count) if number not in bad]
    failed = {n for n, each in by_number(deliveries) if isinstance(each.claim(), Failed)}
    assert failed == bad
    assert driver.buffer.stats().in_flight == 0
