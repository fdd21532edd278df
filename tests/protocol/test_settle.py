"""What every driver does with an output (``masivo.protocol``, step 5)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from masivo._protocol.calls import Calls, call, running, tell
from masivo._protocol.errors import MasivoError
from masivo.protocol import (
    Activity,
    BatchSettled,
    CloseTicket,
    Delivery,
    ErrorCall,
    FailedEvent,
    FlushEnded,
    Idle,
    Origin,
    Output,
    SendEventResult,
    Settled,
    Ticket,
    TokenRevoked,
    Waiters,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

RESULT = SendEventResult(True, 200, None)


class Log:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, level: int, msg: str, /) -> None:
        """Keep a line."""
        self.lines.append(f"{level}: {msg}")

    def warning(self, msg: str, /) -> None:
        """Keep a warning."""
        self.lines.append(f"warning: {msg}")

    def error(self, msg: str, /, *, exc_info: bool) -> None:
        """Keep an error."""
        self.lines.append(f"error: {msg} {exc_info}")


def output(
    *deliveries: Delivery, tickets: list[Ticket] | None = None, warnings: list[str] | None = None
) -> Output:
    """An output that settles these."""
    settled = [Settled(list(deliveries), RESULT)]
    return Output(settled=settled, tickets=tickets or [], warnings=warnings or [])


def delivery() -> Delivery:
    """A delivery."""
    return Delivery(b"{}", 0.0, "", None)


def test_who_waits_is_woken_once() -> None:
    """Every waiter of a delivery or a ticket is woken, once, and only those."""
    waiters = Waiters()
    woken: list[str] = []
    one, other, ticket = delivery(), delivery(), Ticket()
    waiters.add(one, lambda: woken.append("first"))
    waiters.add(one, lambda: woken.append("second"))
    waiters.add(other, lambda: woken.append("other"))
    waiters.add(ticket, lambda: woken.append("ticket"))
    settle(output(one, tickets=[ticket]), Log(), waiters)
    assert sorted(woken) == ["first", "second", "ticket"]
    settle(output(one, tickets=[ticket]), Log(), waiters)
    assert len(woken) == 3


def test_who_gave_up_is_not_woken() -> None:
    """A waiter that was discarded is not woken; the others are."""
    waiters = Waiters()
    woken: list[str] = []
    one = delivery()

    def first() -> None:
        woken.append("first")

    def second() -> None:
        woken.append("second")

    waiters.discard(one, first)
    waiters.add(one, first)
    waiters.add(one, second)
    waiters.discard(one, first)
    waiters.discard(one, first)
    settle(output(one), Log(), waiters)
    assert woken == ["second"]


def test_a_delivery_is_forgotten_when_nobody_waits_any_more() -> None:
    """Who registers for what has its outcome already, and gives up, leaves nothing; those who
    waited before are woken all the same."""
    waiters = Waiters()
    woken: list[str] = []
    one = delivery()

    def waits() -> None:
        woken.append("waits")

    def came_late() -> None:
        woken.append("came late")

    waiters.add(one, waits)
    one.outcome = RESULT
    waiters.add(one, came_late)
    waiters.discard(one, came_late)
    settle(output(one), Log(), waiters)
    assert woken == ["waits"]
    waiters.add(one, came_late)
    waiters.discard(one, came_late)
    waiters.discard(one, came_late)
    assert waiters._of_deliveries == {}


def test_warnings_are_logged() -> None:
    """Every warning is a line of the log."""
    log = Log()
    settle(output(warnings=["a", "b"]), log)
    assert log.lines == ["warning: a", "warning: b"]


@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt, SystemExit])
def test_what_on_error_raises_is_logged_and_harms_nothing(kind: type[BaseException]) -> None:
    """What ``on_error`` raises is logged; the calls after it are made."""
    log = Log()
    told: list[FailedEvent] = []

    def on_error(failure: FailedEvent) -> None:
        told.append(failure)
        raise kind

    failures = [FailedEvent({"n": n}, MasivoError("x")) for n in range(2)]
    origin = Origin(None, on_error)
    settle(Output(failed_events=[ErrorCall(origin, failure) for failure in failures]), log)
    assert told == failures
    assert (
        log.lines == ["error: on_error raised an exception; the failure stays unclaimed True"] * 2
    )


async def _later() -> None:
    """Never awaited."""


def _awaitable(_: object) -> object:
    """A function that returns a coroutine."""
    return _later()


def _lazily(_: object) -> Iterator[int]:
    """A generator function."""
    yield 1


async def _lazily_too(_: object) -> AsyncIterator[int]:
    """An asynchronous generator function."""
    yield 1


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize("function", [_awaitable, _lazily, _lazily_too])
def test_a_function_whose_code_never_runs_has_not_handled_a_failure(
    function: Callable[[object], object],
) -> None:
    """``on_error`` or ``on_activity`` that returns a coroutine or a generator counts as one that
    raises: a line of the log, and the failure stays unclaimed."""
    log = Log()
    failure = FailedEvent({"n": 1}, MasivoError("x"))
    settle(
        Output(
            client_activity=[(Origin(None, None, (function,)), Idle(1.0, None, None))],
            failed_events=[ErrorCall(Origin(None, function), failure)],
        ),
        log,
    )
    assert [line.partition(";")[0] for line in log.lines] == [
        "error: on_activity raised an exception",
        "error: on_error raised an exception",
    ]


def test_a_ticket_that_its_waiter_gave_up_is_forgotten() -> None:
    """Nothing may ever end a ticket that nobody waits for, so nothing of it is kept."""
    waiters = Waiters()
    ticket = Ticket()

    def waker() -> None:
        """Do nothing."""

    for _ in range(2):
        waiters.add(ticket, waker)
        waiters.discard(ticket, waker)
        assert waiters._of_tickets == {}


def test_activity_is_logged_before_warnings() -> None:
    """At the level of its line, if it has one; then what is lost."""
    log = Log()
    activity: list[Activity] = [
        FlushEnded(1.0, delivered=1, failed=0),
        BatchSettled(1.0, batch="0a1b", delivered=1, failed=0),
        TokenRevoked(1.0, why="it has expired"),
    ]
    settle(Output(activity=activity, warnings=["lost"]), log)
    assert log.lines == [
        "10: flush: done, 1 delivered, 0 failed",
        "20: token: discarded, as it has expired",
        "warning: lost",
    ]


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_handler_of_the_log_that_raises_stops_nothing(kind: type[BaseException]) -> None:
    """Whatever it raises is dropped, at each line: the lines after it are written, ``on_error`` is
    called."""
    calls: list[object] = []

    class Broken(Log):
        def log(self, level: int, msg: str, /) -> None:
            super().log(level, msg)
            raise kind

        def warning(self, msg: str, /) -> None:
            super().warning(msg)
            raise kind

        def error(self, msg: str, /, *, exc_info: bool) -> None:
            super().error(msg, exc_info=exc_info)
            raise kind

    def on_error(failure: FailedEvent) -> None:
        calls.append(failure)
        raise LookupError

    log = Broken()
    failed = FailedEvent({}, MasivoError("x"))
    output = Output(
        activity=[Idle(1.0, wake_at=None, timer=None)] * 2,
        warnings=["lost"] * 2,
        failed_events=[ErrorCall(Origin(None, on_error), failed)] * 2,
    )
    settle(output, log)
    assert calls == [failed] * 2
    assert [line.partition(":")[0] for line in log.lines] == [
        *("10", "10", "warning", "warning", "error", "error")
    ]


def test_one_of_two_waiters_may_give_up() -> None:
    """The others of a delivery are called all the same; a ticket that is given up is forgotten."""
    waiters = Waiters()
    called: list[int] = []
    delivery = Delivery(b"", 0.0, "", None)

    def one() -> None:
        called.append(1)

    def two() -> None:
        called.append(2)

    waiters.add(delivery, one)
    waiters.add(delivery, two)
    waiters.discard(delivery, one)
    output = Output(settled=[Settled([delivery], RESULT)])
    for waker in waiters.take(output):
        waker()
    assert called == [2]


def test_a_waiter_waits_for_as_long_as_a_block_lasts() -> None:
    """It is called when the outcome comes within the block, and forgotten when the block is left,
    by an exception too; the delivery's other waiters are not."""
    waiters = Waiters()
    called: list[str] = []
    delivery = Delivery(b"", 0.0, "", None)
    waiters.add(delivery, partial(called.append, "other"))
    with pytest.raises(TimeoutError), waiters.waiting(delivery, partial(called.append, "left")):
        raise TimeoutError
    with waiters.waiting(delivery, partial(called.append, "there")):
        output = Output(settled=[Settled([delivery], RESULT)])
        for waker in waiters.take(output):
            waker()
    assert called == ["other", "there"]


def failures(origin: Origin, *numbers: int) -> list[ErrorCall]:
    """Events of a client that a poll has ended with an error."""
    origin.calls.announced += len(numbers)
    return [ErrorCall(origin, FailedEvent({"n": n}, MasivoError("x"))) for n in numbers]


def test_a_close_ends_after_the_calls_and_the_lines_before_it() -> None:
    """A close has its outcome, and its waiter is woken, once ``on_error`` has been called and the
    log written for all of the same output and of those before it, whatever order threads take."""
    jobs: list[Callable[[], None]] = []
    done: list[str] = []

    class Lines(Log):
        def warning(self, msg: str, /) -> None:
            done.append(msg)

    origin = Origin(None, lambda failed: done.append(f"on_error {failed.event}"))
    waiters, log = Waiters(), Lines()
    ticket = CloseTicket(origin.calls)
    waiters.add(ticket, lambda: done.append("woken"))
    first = Output(failed_events=failures(origin, 1))
    last = Output(closes=[ticket], failed_events=failures(origin, 2), warnings=["lost"])
    for each in (first, last):
        settle(each, log, waiters, jobs.append)
    assert done == []
    for job in reversed(jobs):
        job()
    assert done == ["lost", "on_error {'n': 1}", "on_error {'n': 2}", "woken"] or done == [
        *("on_error {'n': 1}", "on_error {'n': 2}", "lost", "woken")
    ]
    assert ticket.outcome is True


def test_a_close_with_nothing_before_it_ends_at_once() -> None:
    """No other thread is needed for a client that failed at nothing."""
    jobs: list[Callable[[], None]] = []
    origin = Origin(None, None)
    ticket = CloseTicket(origin.calls)
    settle(Output(closes=[ticket]), Log(), Waiters(), jobs.append)
    assert (ticket.outcome, jobs) == (True, [])


def test_a_close_waits_for_no_line_that_is_written() -> None:
    """Once the log's lines are written, a close ends at once: no other thread is needed."""
    waiters = Waiters()
    jobs: list[Callable[[], None]] = []
    settle(output(warnings=["a"]), Log(), waiters, jobs.append)
    jobs.pop()()
    ticket = CloseTicket(Calls())
    settle(Output(closes=[ticket]), Log(), waiters, jobs.append)
    assert (ticket.outcome, jobs) == (True, [])


@pytest.mark.parametrize(("function", "kind"), [(_lazily, "generator"), (_awaitable, "coroutine")])
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_function_whose_code_never_runs_is_told_so(
    function: Callable[[object], object], kind: str
) -> None:
    """The exception in the log names what the function returned, and what to pass."""
    with pytest.raises(TypeError) as caught:
        call(function, None)
    assert str(caught.value) == (f"it returned a {kind}, which is never run: pass a plain function")


def test_a_function_that_was_called_inside_another_ends_alone() -> None:
    """``running`` names those that still run, outermost first."""
    seen: list[object] = []
    failed = FailedEvent({}, MasivoError("x"))

    def outer(_failed: FailedEvent) -> None:
        tell(inner, failed)
        seen.append(running())

    def inner(_failed: FailedEvent) -> None:
        seen.append(running())

    tell(outer, failed)
    assert seen == [(outer, inner), (outer,)]
    assert running() == ()


def test_calls_are_made_in_order_by_one_at_a_time() -> None:
    """Whoever comes while a call is being made leaves its own to the one that makes them."""
    calls = Calls()
    made: list[int] = []

    def first() -> None:
        calls.add(lambda: made.append(2))
        calls.make()
        made.append(1)

    calls.add(first)
    calls.make()
    assert made == [1, 2]


def test_calls_go_on_after_one_that_raises() -> None:
    """What a call raises reaches whoever makes it; the next one goes on with the rest."""
    calls = Calls()
    made: list[int] = []
    calls.add(lambda: 1 // 0)
    calls.add(lambda: made.append(1))
    with pytest.raises(ZeroDivisionError):
        calls.make()
    calls.make()
    assert made == [1]
