"""Events that ``on_error`` sends (``docs/reference/guarantees.md#on_error``)."""

from __future__ import annotations

import gc
from contextvars import copy_context
from typing import TYPE_CHECKING, Unpack

from masivo._protocol.errors import MasivoAuthError, MasivoQueueFullError
from masivo.protocol import settle

from .requests import numbers
from .simulator import Driver, error_of, event
from .spooled import SpoolDriver
from .test_settle import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import ClientOptions, Delivery, FailedEvent, Output


class Resending(Driver):
    """A driver that settles, and whose ``on_error`` sends what failed once more, by the following
    driver: itself, if no other is set."""

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        self.told: list[object] = []
        self.again: list[Delivery] = []
        options["on_error"] = self.on_error
        super().__init__(**options)
        self.following: Driver = self

    def on_error(self, failure: FailedEvent) -> None:
        """Send it with another number."""
        number = failure.event["n"]
        self.told.append(number)
        assert isinstance(number, int)
        self.again.append(self.following.buffer.send(event(number + 100)))

    def _poll(self) -> Output:
        output = super()._poll()
        settle(output, Log())
        return output

    def refuse(self) -> None:
        """Send event 1, and have the API refuse the key."""
        self.send_numbers(1)
        self.respond(403, {"error": "no"}, to=self.authorization())

    def outlive_a_hold(self) -> None:
        """Send event 1, whose failure is told in a long hold; after it, event 101 is in flight."""
        self.dice.always = 0.0
        self.sign_in()
        self.send_numbers(1)
        self.flush()
        self.respond(503, headers={"retry-after": "301"})
        self.now += 301.0
        self.flush()


class ResendingSpool(Resending, SpoolDriver):
    """The same, with a store."""


def test_an_event_that_fails_at_once_is_not_told_again() -> None:
    """While the key rests, an event that ``on_error`` sends fails, and that is the end of it; its
    delivery says so. What others send meanwhile is told."""
    driver = Resending()
    driver.refuse()
    assert driver.told == [1]
    assert type(error_of(driver.again[0])) is MasivoAuthError
    driver.send_numbers(2)
    assert driver.told == [1, 2]
    assert driver.buffer.stats().failed == 4


def test_an_event_that_fails_at_once_in_a_long_hold_is_not_told_again() -> None:
    """While a ``Retry-After`` is longer than is waited for, batches fail without a request: a batch
    of what ``on_error`` sends, too."""
    driver = Resending(batch_size=1, refresh_interval=None)
    driver.sign_in()
    driver.send_numbers(1)
    driver.respond(503, headers={"retry-after": "4000"})
    assert driver.told == [1]
    assert error_of(driver.again[0]).status == 503


def test_clients_that_send_each_others_failures_come_to_an_end() -> None:
    """Each of three clients sends what failed by the next one, and none can deliver: each
    ``on_error`` is called once for an event, and not again for what comes round."""
    drivers = [Resending(), Resending(), Resending()]
    for driver, following in zip(drivers, drivers[1:] + drivers[:1], strict=True):
        driver.refuse()
        driver.told.clear()
        driver.following = following
    drivers[0].send_numbers(2)
    for _ in range(5):
        for driver in drivers:
            driver.poll()
    assert [driver.told for driver in drivers] == [[2], [102], [202]]
    assert [driver.buffer.stats().failed for driver in drivers] == [4, 3, 3]


def test_an_event_that_outlives_what_kept_it_is_told() -> None:
    """An event that ``on_error`` sends in a long hold, and that fails after it, is told."""
    driver = Resending(refresh_interval=None)
    driver.outlive_a_hold()
    driver.respond(403)
    assert driver.told == [1, 101]


def test_what_is_delivered_is_forgotten() -> None:
    """Nothing is kept of an event that went well after all."""
    driver = Resending(refresh_interval=None)
    driver.outlive_a_hold()
    driver.accept()
    assert driver.core.sent_inside == {}


def test_an_event_without_room_is_not_told() -> None:
    """An event that overflows was never accepted."""
    driver = Resending(max_queue=1, max_retries=0)

    def fill(failure: FailedEvent) -> None:
        driver.told.append(failure.event["n"])
        driver.again += [driver.buffer.send(event(number)) for number in (101, 102)]

    driver.buffer.on_error = fill
    driver.sign_in()
    driver.send_numbers(1)
    driver.respond(403)
    assert driver.told == [1]
    assert type(error_of(driver.again[1])) is MasivoQueueFullError


def test_an_event_that_fails_later_is_told() -> None:
    """An event that ``on_error`` sends is like any other: what its request comes to is told."""
    driver = Resending(batch_size=1)
    driver.sign_in()
    driver.send_numbers(1)
    driver.respond(403)
    assert numbers(driver.batch()) == [101]
    driver.respond(403)
    assert driver.told == [1, 101]
    driver.accept()


def test_another_function_is_told() -> None:
    """What ``on_error`` sends through a client that has another ``on_error`` is told to that."""
    driver = Resending()
    other = driver.client(on_error=lambda failure: driver.told.append(failure.event["n"]))
    driver.buffer.on_error = lambda _: other.send(event(7))
    driver.refuse()
    assert driver.told == [7]


def test_a_task_that_on_error_starts_is_not_inside_it() -> None:
    """Code that runs later in a copy of its context, as tasks do, is told of what it sends."""
    driver = Resending()
    later: list[Callable[[], object]] = []

    def start(failure: FailedEvent) -> None:
        driver.told.append(failure.event["n"])
        context = copy_context()
        later.append(lambda: context.run(driver.buffer.send, event(2)))

    driver.buffer.on_error = start
    driver.refuse()
    later[0]()
    driver.poll()
    assert driver.told == [1, 2]


def test_nothing_is_kept_of_an_event_whose_delivery_ended() -> None:
    """The event stays in the store, and is sent later without a word of who sent it."""
    driver = ResendingSpool(max_retries=0, batch_size=1)
    driver.sign_in()
    driver.send_numbers(1)
    driver.respond(422)
    assert numbers(driver.batch()) == [101]
    assert [*driver.core.sent_inside] == driver.again
    driver.respond(503)
    assert error_of(driver.again[0]).spooled
    assert driver.core.sent_inside == {}
    assert driver.told == [1]


def test_a_failure_of_an_adopted_event_is_logged_whatever_on_error_does() -> None:
    """Its delivery was another process's: nobody here can claim the failure."""
    driver = ResendingSpool(batch_size=1)
    first = SpoolDriver(driver.disk)
    first.send_numbers(1)
    first.process.kill()
    driver.buffer.use()
    driver.sign_in()
    driver.respond(422)
    assert driver.told == [1]
    driver.settled.clear()
    gc.collect()
    driver.poll()
    assert [line for line in driver.warnings if "1 event was" in line] != []
