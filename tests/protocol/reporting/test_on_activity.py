"""The activity that each client is told (``docs/reference/guarantees.md#on_activity``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from masivo._protocol.errors import MasivoConfigError
from masivo.protocol import (
    Activity,
    AuthorizationSent,
    BatchSent,
    BatchSettled,
    ClientReleased,
    EventsQueued,
    KeyRefused,
    LongHold,
    Origin,
    Output,
    ResponseReceived,
    RetryScheduled,
    TimerFired,
    TokenGranted,
    Waiters,
    configure,
    settle,
)
from protocol.simulator import KEY, TOKEN, Driver, error_of, event

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Buffer, OnActivity


class Listening(Driver):
    """A driver that settles what it polls, and keeps what each client is told."""

    def __init__(self, **options: Any) -> None:
        self.told: list[Activity] = []
        self.lines: list[str] = []
        super().__init__(on_activity=self.told.append, refresh_interval=None, **options)

    def _poll(self) -> Output:
        output = super()._poll()
        settle(output, self)
        return output

    def log(self, level: int, msg: str, /) -> None:
        """See ``Logger``."""
        self.lines.append(f"{level} {msg}")

    def warning(self, msg: str, /) -> None:
        """See ``Logger``."""
        self.lines.append(f"warning {msg}")

    def error(self, msg: str, /, *, exc_info: bool) -> None:
        """See ``Logger``."""
        self.lines.append(f"error {msg} {exc_info}")

    def listener(self) -> tuple[Buffer, list[Activity]]:
        """Another client, and what it is told."""
        told: list[Activity] = []
        return self.client(on_activity=told.append), told


def kinds(told: list[Activity]) -> list[type[Activity]]:
    """The classes of what was told, without what says only that time has passed."""
    quiet = ("Idle", "TimerFired")
    return [type(each) for each in told if type(each).__name__ not in quiet]


def test_a_client_is_told_what_it_does_in_order() -> None:
    """From the first authorization to the outcome; a request's number connects what belongs to it,
    and nothing goes to the log."""
    driver = Listening(batch_size=2)
    driver.send_numbers(1, 2)
    driver.grant()
    driver.accept()
    assert kinds(driver.told) == [
        *(EventsQueued, AuthorizationSent, ResponseReceived, TokenGranted),
        *(BatchSent, ResponseReceived, BatchSettled),
    ]
    sent = next(each for each in driver.told if isinstance(each, BatchSent))
    assert (sent.events, sent.trigger, sent.retries) == (2, "batch_size", 0)
    answered = [each for each in driver.told if isinstance(each, ResponseReceived)]
    assert [each.request for each in answered] == [1, sent.request]
    assert driver.lines == []


def test_each_client_is_told_its_own() -> None:
    """What concerns a client goes to it alone; what concerns the key goes to each that listens."""
    driver = Listening(batch_size=1, max_retries=1)
    driver.dice.always = 0.5
    other, told = driver.listener()
    driver.client(on_activity=None)
    driver.send_numbers(1, buffer=other)
    driver.grant()
    driver.respond(503)
    driver.told.clear()
    told.clear()
    driver.sleep()
    driver.respond(429, headers={"retry-after": "1000"})
    assert BatchSent in kinds(told)
    assert kinds(driver.told) == [LongHold]
    assert LongHold in kinds(told)


def test_each_client_is_told_of_its_own_timers() -> None:
    """What the timers of another client do is not told."""
    driver = Listening(idle_timeout=1.0)
    other, told = driver.listener()
    driver.send_numbers(1, buffer=other)
    driver.grant()
    driver.sleep()
    assert TimerFired(driver.now, "LINGER") in told
    assert not any(isinstance(each, TimerFired) for each in driver.told)
    driver.respond(503)
    driver.sleep()
    assert TimerFired(driver.now, "RETRY") in told
    assert not any(isinstance(each, TimerFired) for each in driver.told)


def test_the_key_that_is_refused_concerns_all() -> None:
    """Each client that listens is told, with the class of the error and the status."""
    driver = Listening()
    _, told = driver.listener()
    (delivery,) = driver.send_numbers(1)
    driver.respond(403)
    error = error_of(delivery)
    for heard in (driver.told, told):
        refused = next(each for each in heard if isinstance(each, KeyRefused))
        assert (refused.error, refused.status) == (type(error).__name__, 403)


def test_it_is_told_to_the_end_and_no_longer() -> None:
    """The last that a client is told is that it is gone."""
    driver = Listening()
    _, told = driver.listener()
    driver.send_numbers(1)
    driver.buffer.destroy()
    driver.poll()
    assert kinds(driver.told)[-1] is ClientReleased
    driver.told.clear()
    driver.grant()
    assert driver.told == []
    assert TokenGranted in kinds(told)


def test_a_close_ends_after_its_calls() -> None:
    """As after those of ``on_error``: all that was to be told has been told."""
    jobs: list[Callable[[], None]] = []
    told: list[Activity] = []
    driver = Driver(on_activity=told.append)
    waiters = Waiters()

    def poll() -> None:
        settle(driver.engine.poll(), Listening(), waiters, jobs.append)

    ticket = driver.buffer.close(None)
    poll()
    assert (told, ticket.outcome) == ([], None)
    for job in jobs:
        job()
    assert kinds(told)[-1] is ClientReleased
    assert ticket.outcome is True


def test_what_it_raises_is_logged() -> None:
    """Whatever it is; the next is told all the same, and the client goes on."""
    told: list[Activity] = []

    def on_activity(activity: Activity) -> None:
        told.append(activity)
        raise KeyboardInterrupt

    driver = Listening()
    buffer = driver.client(on_activity=on_activity, batch_size=1)
    (delivery,) = driver.send_numbers(1, buffer=buffer)
    driver.grant()
    driver.accept()
    assert delivery.done()
    assert driver.lines == [
        "error on_activity raised an exception; the client is not affected True"
    ] * len(told)
    assert len(told) > 5


def test_without_it_nothing_is_made() -> None:
    """Nobody listens: no value is made for the log or for a client."""
    driver = Driver()
    driver.send_numbers(1)
    assert driver.core.listening is False
    other = driver.client(on_activity=lambda _: None)
    driver.poll()
    assert driver.core.listening is True
    other.destroy()
    driver.poll()
    driver.poll()
    assert driver.core.listening is False


def test_no_secret_and_nothing_of_an_event() -> None:
    """No value shows the key, the token, or what an event holds."""
    driver = Listening(batch_size=1, base_url=f"https://host.example/{KEY}")
    driver.send(event(1, "customer-of-ours", note="text-of-ours"))
    driver.grant()
    driver.respond(500, {"error": f"customer-of-ours {TOKEN} {KEY}"})
    shown = repr(driver.told)
    assert RetryScheduled in kinds(driver.told)
    for text in (KEY, TOKEN, "customer-of-ours", "text-of-ours"):
        assert text not in shown


async def coroutine(_activity: Activity) -> None:
    """Never awaited."""


@pytest.mark.parametrize("wrong", [5, coroutine])
def test_it_is_a_plain_function(wrong: Any) -> None:
    """A coroutine function is refused at construction, and so is what cannot be called."""
    with pytest.raises(MasivoConfigError, match="on_activity must be"):
        configure(environ={"MASIVO_API_KEY": KEY}, on_activity=wrong)


def test_an_origin_without_it_is_told_nothing() -> None:
    """A client of a driver's own making may lack it."""
    listeners: tuple[OnActivity, ...] = Origin(None).listeners
    assert listeners == ()


# ── Several listeners ────────────────────────────────────────────────────────────────────────


def test_listeners_are_called_one_after_another() -> None:
    """The client's ``on_activity`` first, then those that were added, in their order: for each
    value, and with the same value."""
    heard: list[tuple[int, Activity]] = []
    driver = Listening()
    buffer = driver.client(on_activity=lambda each: heard.append((0, each)), batch_size=1)
    buffer.listen(lambda each: heard.append((1, each)))
    buffer.listen(lambda each: heard.append((2, each)))
    driver.send_numbers(1, buffer=buffer)
    driver.grant()
    driver.accept()
    assert [number for number, _ in heard] == [0, 1, 2] * (len(heard) // 3)
    assert BatchSettled in kinds([each for _, each in heard[::3]])
    for first in range(0, len(heard), 3):
        assert len({id(each) for _, each in heard[first : first + 3]}) == 1


@pytest.mark.parametrize("raising", [0, 1])
def test_an_error_of_one_listener_is_its_own(raising: int) -> None:
    """What one of them raises is logged, and the next is called all the same."""
    told: list[Activity] = []
    listeners: list[OnActivity] = [told.append, told.append]

    def fails(_activity: Activity) -> None:
        raise ValueError

    listeners[raising] = fails
    driver = Listening()
    buffer = driver.client(on_activity=listeners[0], batch_size=1)
    buffer.listen(listeners[1])
    (delivery,) = driver.send_numbers(1, buffer=buffer)
    driver.grant()
    driver.accept()
    assert delivery.done()
    assert BatchSettled in kinds(told)
    assert driver.lines == [
        "error on_activity raised an exception; the client is not affected True"
    ] * len(told)


def test_a_listener_that_is_added_is_told_what_follows() -> None:
    """Also where the client had none before: from the next poll to the end of the client."""
    driver = Listening()
    buffer = driver.client(on_activity=None, batch_size=1)
    driver.send_numbers(1, buffer=buffer)
    told: list[Activity] = []
    buffer.listen(told.append)
    driver.grant()
    assert kinds(told)[:2] == [ResponseReceived, TokenGranted]
    buffer.destroy()
    driver.poll()
    assert kinds(told)[-1] is ClientReleased


def test_who_listens_to_a_client_that_is_gone_hears_nothing() -> None:
    """And nothing is made for it."""
    driver = Driver()
    buffer = driver.client()
    buffer.destroy()
    driver.poll()
    buffer.listen(lambda _: None)
    driver.send_numbers(1)
    assert driver.core.listening is False


def test_who_listens_to_a_client_that_has_ended_is_forgotten() -> None:
    """Nothing of it is kept while other clients of the key live on."""
    driver = Driver()
    driver.client()
    driver.buffer.destroy()
    driver.poll()
    driver.buffer.listen(lambda activity: None)
    assert driver.core.listeners == {}
