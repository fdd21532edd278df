"""The calling contract of the engine (``masivo.protocol``): poll, wake, inputs, misuse."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pytest

from masivo._protocol.errors import MasivoAuthError, MasivoError
from masivo.protocol import Api, Buffer, Delivery, Engine, Failed, Failure, Response, unwrap

from .requests import numbers
from .simulator import START, WALL, Dice, Driver, error_of, event, in_batch, result_of, settings
from .spooled import SpoolDriver


class Reentrant(Mapping[str, object]):
    """An event whose reading sends another one, as a signal handler or a finalizer may."""

    def __init__(self, driver: Driver, number: int) -> None:
        self.driver = driver
        self.event = event(number)
        self.inner: list[Delivery] = []

    def __getitem__(self, key: str) -> object:
        return self.event[key]

    def __len__(self) -> int:
        return len(self.event)

    def __iter__(self) -> Iterator[str]:
        self.inner.append(self.driver.buffer.send(event(100)))
        return iter(self.event)


def _nothing() -> None:
    """Do nothing."""


class InPoll:
    """A random source that runs something in the middle of a poll, at its first draw."""

    def __init__(self) -> None:
        self.dice = Dice(1)
        self.act: Callable[[], object] = _nothing

    def random(self) -> float:
        """See ``RandomSource``."""
        act, self.act = self.act, _nothing
        act()
        return self.dice.random()

    def getrandbits(self, k: int, /) -> int:
        """See ``RandomSource``."""
        act, self.act = self.act, _nothing
        act()
        return self.dice.getrandbits(k)


def acting_in_polls() -> tuple[Engine, Buffer, InPoll]:
    """An engine whose random source may act, with a client that has sent an event."""
    source = InPoll()
    chosen = settings()
    engine = Engine(
        chosen.account,
        clock=lambda: START,
        wall_clock=lambda: WALL,
        random=source,
        wake=lambda: None,
    )
    buffer = engine.attach(chosen)
    buffer.send(event(1))
    return engine, buffer, source


def test_a_second_poll_at_the_same_time_returns_nothing_new() -> None:
    """``poll`` returns each thing once; a second poll at the same time is quiet and asks for the
    same wake-up, and early polls change nothing."""
    driver = Driver(refresh_interval=None)
    driver.send_numbers(1)
    first = driver.engine.poll()
    second = driver.engine.poll()
    assert (second.requests, second.settled, second.tickets) == ([], [], [])
    assert (second.failed_events, second.warnings, second.closed) == ([], [], False)
    assert first.wake_at == second.wake_at == START + 30.0
    for _ in range(20):
        driver.advance(1.0)
        assert driver.wake_at == START + 30.0


def test_all_work_is_done_by_poll() -> None:
    """Inputs only note what happened: nothing has an outcome before the next poll."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    (delivery,) = driver.send_numbers(1)
    request = driver.batch()
    driver.engine.hand_back(request.id, Response(200, {}, b""))
    driver.buffer.close(1.0)
    assert not delivery.done()
    driver.poll()
    assert result_of(delivery).success
    assert driver.closed


def test_a_poll_within_a_poll_is_an_error() -> None:
    """``poll`` must not run twice at once: a RuntimeError, and the outer one is unharmed."""
    engine, buffer, source = acting_in_polls()
    (request,) = engine.poll().requests
    raised: list[RuntimeError] = []

    def poll() -> None:
        with pytest.raises(RuntimeError) as caught:
            engine.poll()
        raised.append(caught.value)

    source.act = poll
    engine.hand_back(request.id, Response(200, {}, b'{"data": "a-token"}'))
    engine.poll()
    assert [str(each) for each in raised] == ["poll() called while another poll() is running"]
    buffer.flush()
    assert len(engine.poll().requests) == 1


def test_a_clock_that_runs_backwards_does_no_harm() -> None:
    """Time never runs backwards inside the core, whatever the clock says: no wake-up lies in its
    past, and timers fire once the clock is there again."""
    driver = Driver(refresh_interval=None)
    driver.sign_in()
    driver.advance(100.0)
    driver.send_numbers(1)
    wake_at = driver.wake_at
    driver.advance(-50.0)
    driver.send_numbers(2)
    assert driver.wake_at == wake_at == START + 130.0
    driver.now = START + 130.0
    driver.poll()
    assert numbers(driver.batch()) == [1, 2]


def test_waits_count_from_the_latest_time_that_was_seen() -> None:
    """A wait that begins while the clock has run backwards counts from the latest time seen."""
    driver = Driver(refresh_interval=None)
    driver.advance(100.0)
    in_batch(driver, 1)
    driver.now -= 50.0
    driver.dice.fix(0.5)
    driver.respond(503)
    assert driver.wake_at == START + 100.25


def test_late_and_unknown_responses_are_ignored() -> None:
    """A response to a request that is over, or never was, changes nothing."""
    driver = Driver(batch_size=1, refresh_interval=None)
    for number in (0, -1, 99, 10**30):
        driver.engine.hand_back(number, Response(200, {}, b'{"data": "x-token-x"}'))
        driver.engine.hand_back(number, Failure("?", sent=True))
    driver.poll()
    driver.send_numbers(1)
    authorization = driver.authorization()
    driver.grant()
    batch = driver.batch()
    driver.engine.hand_back(authorization.id, Response(401, {}, b""))
    driver.accept()
    driver.engine.hand_back(batch.id, Response(401, {}, b""))
    driver.engine.hand_back(batch.id, Failure("late", sent=True))
    driver.poll()
    assert driver.out == []
    driver.send_numbers(2)
    assert numbers(driver.batch()) == [2]


def test_the_first_of_two_responses_counts() -> None:
    """When a request gets two responses before the next poll, the first response counts."""
    driver = Driver()
    request, (delivery,) = in_batch(driver, 1)
    driver.engine.hand_back(request.id, Response(200, {}, b""))
    driver.engine.hand_back(request.id, Response(500, {}, b""))
    driver.poll()
    assert result_of(delivery).status == 200


@pytest.mark.parametrize("wrong", [None, 200, b"", "reset", OSError()])
def test_a_result_that_is_none_is_misuse(wrong: object) -> None:
    """``hand_back`` takes a Response or a Failure, and raises TypeError at the call for anything
    else."""
    driver = Driver()
    with pytest.raises(TypeError):
        driver.engine.hand_back(1, cast("Any", wrong))
    driver.poll()


def test_a_result_of_either_kind_is_handed_back() -> None:
    """``hand_back`` takes a response or a failure; ``pending`` tells that an input waits."""
    driver = Driver(max_retries=0)
    driver.dice.always = 0.0
    driver.sign_in()
    assert driver.engine.pending is False
    request, (one,) = in_batch(driver, 1)
    driver.out.clear()
    driver.engine.hand_back(request.id, Response(200, {}, b""))
    assert driver.engine.pending is True
    driver.poll()
    assert driver.engine.pending is False
    assert result_of(one).status == 200
    request, (two,) = in_batch(driver, 2)
    driver.out.clear()
    driver.engine.hand_back(request.id, Failure("lost", sent=True))
    driver.poll()
    assert error_of(two).message == "lost"


def test_request_ids_are_never_used_twice() -> None:
    """Every request, retries included, has an id of its own."""
    driver = Driver(max_retries=3)
    driver.dice.always = 0.0
    in_batch(driver, 1, 2)
    for status in (503, 503, 401, 200, 400):
        driver.respond(status, {"data": "another-token"})
    ids = [each.id for each in driver.sent]
    assert len(set(ids)) == len(ids)


def test_an_event_sent_while_another_is_read_is_not_lost() -> None:
    """``send`` is reentrant: an event that is sent while another one is being read (a signal
    handler, a finalizer) is taken, and both have their outcome."""
    driver = Driver()
    driver.sign_in()
    outer = Reentrant(driver, 1)
    delivery = driver.buffer.send(outer)
    driver.poll()
    driver.flush()
    assert sorted(numbers(driver.batch())) == sorted([1] + [100] * len(outer.inner))
    driver.accept()
    assert outer.inner
    assert all(result_of(each).success for each in [delivery, *outer.inner])


@pytest.mark.parametrize("count", [1, 5])
def test_events_sent_during_a_poll_are_not_lost(count: int) -> None:
    """Events that are sent while a poll runs are for the next poll, and ``wake`` is called where
    that one is needed, though their senders could not know it."""
    driver = Driver(batch_size=2)
    source = InPoll()
    wakes: list[bool] = []
    engine = Engine(
        driver.settings.account,
        clock=lambda: driver.now,
        wall_clock=lambda: 0.0,
        random=source,
        wake=lambda: wakes.append(True),
    )
    buffer = engine.attach(driver.settings)
    buffer.send(event(0))
    (request,) = engine.poll().requests
    engine.hand_back(request.id, Response(200, {}, b'{"data": "a-token"}'))
    buffer.flush()
    (request,) = engine.poll().requests
    buffer.send(event(1))
    engine.hand_back(request.id, Response(200, {}, b""))
    sent: list[Delivery] = []
    source.act = lambda: sent.extend(buffer.send(event(2)) for _ in range(count))
    buffer.flush()
    wakes.clear()
    output = engine.poll()
    assert len(sent) == count
    assert len(output.requests) == 1
    engine.hand_back(output.requests[0].id, Response(200, {}, b""))
    assert not any(each.done() for each in sent)
    for _ in range(count):
        for request in engine.poll().requests:
            engine.hand_back(request.id, Response(200, {}, b""))
    buffer.flush()
    for _ in range(3):
        for request in engine.poll().requests:
            engine.hand_back(request.id, Response(200, {}, b""))
    assert all(result_of(each).success for each in sent)


def test_a_poll_asks_for_another_where_events_came_in_meanwhile() -> None:
    """An event sent in the middle of a poll, after which it would have called ``wake`` itself, is
    seen by the poll, which calls ``wake`` for it."""
    sent: list[Delivery] = []

    def refusal(status: int, body: object) -> bool:
        sent.append(driver.buffer.send(event(2)))
        return False

    driver = Driver(api=Api(is_server_key_refusal=refusal))
    driver.send_numbers(1)
    request = driver.authorization()
    driver.engine.hand_back(request.id, Response(401, {}, b"{}"))
    wakes = driver.wakes
    output = driver.engine.poll()
    assert driver.wakes == wakes + 1
    assert len(output.settled) == 1
    assert not sent[0].done()
    driver.engine.poll()
    assert type(error_of(sent[0])) is MasivoAuthError


def test_a_failure_of_the_random_source_does_not_lock_the_engine() -> None:
    """An exception out of ``poll`` (a broken clock or random source) leaves it callable."""
    engine, _, source = acting_in_polls()
    (request,) = engine.poll().requests

    def fail() -> None:
        raise LookupError

    source.act = fail
    engine.hand_back(request.id, Response(200, {}, b'{"data": "a-token"}'))
    with pytest.raises(LookupError):
        engine.poll()
    engine.poll()


@pytest.mark.parametrize("make", [Driver, SpoolDriver])
def test_a_poll_that_has_no_memory_leaves_its_work_to_the_next(
    make: type[Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that could not be put together is sent then, though nothing else happens."""

    def no_memory(*_: object) -> None:
        raise MemoryError

    driver = make(batch_size=2)
    driver.sign_in()
    with monkeypatch.context() as patch:
        patch.setattr("masivo._protocol.wire.requests.batch", no_memory)
        driver.buffer.send(event(1))
        driver.buffer.send(event(2))
        with pytest.raises(MemoryError):
            driver.poll()
    driver.poll()
    assert numbers(driver.batch()) == [1, 2]


def test_closed_is_true_only_while_no_client_is_attached() -> None:
    """``closed`` says whether the last client has detached; a new one may attach."""
    driver = Driver()
    driver.poll()
    assert not driver.closed
    driver.close(None)
    assert driver.closed
    driver.buffer = driver.client()
    driver.poll()
    assert not driver.closed


def test_a_client_that_attaches_wakes_nobody_where_there_is_no_token() -> None:
    """A client that was only made needs no poll; one that may want a token renewed sooner does."""
    driver = Driver()
    driver.client()
    assert driver.wakes == 0
    assert not driver.engine.pending
    driver.sign_in()
    wakes = driver.wakes
    driver.client()
    assert driver.wakes == wakes + 1
    assert driver.engine.pending


def test_the_owner_is_kept_and_named_with_each_batch() -> None:
    """``owner`` is the driver's: it is kept on the buffer, and named in the requests that carry
    the client's events, not in those that all clients share."""
    driver = Driver()
    owner = object()
    buffer = driver.engine.attach(driver.settings, Delivery, owner)
    assert buffer.owner is owner
    driver.send_numbers(1, buffer=buffer)
    assert driver.authorization().owner is None
    driver.grant()
    driver.flush(buffer)
    assert driver.batch().owner is owner


def test_the_driver_chooses_the_type_of_deliveries() -> None:
    """``attach`` takes the type of what ``send`` makes."""

    class Mine(Delivery, gc=False, eq=False):
        """A driver's own."""

    driver = Driver()
    buffer = driver.engine.attach(driver.settings, Mine)
    assert type(buffer.send(event(1))) is Mine


def test_orphaned_deliveries_end_with_what_the_fork_left() -> None:
    """In a process that forked away, pending deliveries end at once; those that had an outcome keep
    it."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    done, pending = driver.send_numbers(1, 2)
    driver.accept()
    error = MasivoError("forked")
    driver.buffer.forked(Failed(error, 1, None))
    assert result_of(done).success
    assert pending.done()
    with pytest.raises(MasivoError, match="forked"):
        unwrap(pending.claim())


def test_a_delivery_is_neither_copied_nor_pickled() -> None:
    """It belongs to its client, and so do tickets and the buffer: each way is a TypeError that
    says what to do."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    for each in (delivery, driver.flush(), driver.buffer.token(), driver.close(), driver.buffer):
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="make a client in each process"):
                way(each)


@pytest.mark.parametrize("make", [Driver, SpoolDriver])
def test_the_first_event_wakes_the_driver(make: type[Driver]) -> None:
    """Nothing polls before it; later ones wake it when a batch is due."""
    driver = make()
    driver.buffer.send(event(1))
    assert driver.wakes > 0


def test_an_event_that_comes_after_the_end_of_its_client_wakes_the_driver() -> None:
    """Its sender still found the client open; it fails as the others did."""
    driver = Driver(refresh_interval=None)
    driver.client()
    driver.sign_in()
    driver.send_numbers(1)
    driver.buffer.destroy()
    driver.poll()
    driver.outbox.gate.closed = False
    wakes = driver.wakes
    late = driver.buffer.send(event(2))
    assert driver.wakes > wakes
    driver.poll()
    assert error_of(late).message == "the client was destroyed before this could be delivered"
