"""The settling of an output, the same in every driver: waiters, the log, the caller's functions
(``on_activity``, ``on_error``), and closes."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from .calls import Calls, call, tell
from .delivery import Delivery
from .reporting.lines import line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .delivery import Awaited, CloseTicket
    from .output import ErrorCall, Logger, Output
    from .reporting.activity import Activity, OnActivity
    from .values import OnError

__all__ = ["Waiters", "settle"]


class Waiters:
    """The waiters: functions to be called when a delivery or a ticket has its outcome.

    It tells a delivery's client that a caller waits, or has given up. Its methods need no lock:
    each is one step on a dict. A waiter first registers, then checks for the outcome; the driver
    first polls, which sets outcomes, then checks for waiters.
    """

    def __init__(self) -> None:
        # Separate: while callers wait for flushes only, deliveries need not be looked up.
        self._of_deliveries: dict[Awaited[object], list[Callable[[], object]]] = {}
        self._of_tickets: dict[Awaited[object], list[Callable[[], object]]] = {}
        self.log: Calls = Calls()
        """The log lines to be written."""

    def add(self, awaited: Awaited[object], waker: Callable[[], object]) -> None:
        """Call ``waker``, once, when ``awaited`` has its outcome: inside ``settle``, so it must not
        raise an exception."""
        if not isinstance(awaited, Delivery):
            self._of_tickets.setdefault(awaited, []).append(waker)
            return
        self._of_deliveries.setdefault(awaited, []).append(waker)
        if awaited.outcome is None and (origin := awaited.buffer) is not None:
            origin.begin_wait(awaited, waker)

    def discard(self, awaited: Awaited[object], waker: Callable[[], object]) -> None:
        """Forget a waiter that gave up."""
        if not isinstance(awaited, Delivery):
            # A ticket has one waiter, and after a cancel it may never get an outcome.
            self._of_tickets.pop(awaited, None)
            return
        wakers = self._of_deliveries.get(awaited, [])
        if waker in wakers:
            wakers.remove(waker)
        if awaited.outcome is None and (origin := awaited.buffer) is not None:
            origin.end_wait(awaited, waker)
        # Before the outcome the list stays, even if empty: another waiter may be adding itself to
        # it. After it, such a waiter sees the outcome, and nothing else removes the list.
        if not wakers and awaited.outcome is not None:
            self._of_deliveries.pop(awaited, None)

    @contextmanager
    def waiting(
        self, awaited: Awaited[object], waker: Callable[[], object]
    ) -> Generator[None, None, None]:
        """Call ``waker`` when ``awaited`` has its outcome, as long as the ``with`` block lasts."""
        self.add(awaited, waker)
        try:
            yield
        finally:
            self.discard(awaited, waker)

    def take(self, output: Output) -> list[Callable[[], object]]:
        """Remove and return the wakers of waiters that an output ends."""
        wakers: list[Callable[[], object]] = []
        if self._of_deliveries:
            for settled in output.settled:
                for delivery in settled.deliveries:
                    wakers += self._of_deliveries.pop(delivery, ())
        for ticket in output.tickets:
            wakers += self._of_tickets.pop(ticket, ())
        return wakers

    def end(self, ticket: CloseTicket) -> None:
        """Give a close its outcome, and wake its waiters."""
        ticket.outcome = True
        for waker in self._of_tickets.pop(ticket, ()):
            waker()


def _here(function: Callable[[], None]) -> None:
    function()


def settle(
    output: Output,
    logger: Logger,
    waiters: Waiters | None = None,
    start: Callable[[Callable[[], None]], object] = _here,
) -> None:
    """Hand an output's outcomes on. Call it outside every lock, and after every poll, in order.

    Args:
        output: what ``Engine.poll`` returned; its ``settled`` and its ``failed_events`` are empty
            afterwards.
        logger: gets its activity and warnings, and the exceptions of ``on_activity`` and
            ``on_error``.
        waiters: the waiters to wake: always the same object for an engine.
        start: is called with a function, which it runs, here or in another thread. The function
            calls the application's code: it may block, and may itself call ``start`` with another
            function. By default it runs here, at once.
    """
    waiters = Waiters() if waiters is None else waiters
    wakers = waiters.take(output)
    # Drop the deliveries first: a failure that no caller holds is reported now, before a woken
    # caller continues, perhaps to exit.
    output.settled.clear()
    for waker in wakers:
        waker()
    output.warnings += output.dropped()  # as above
    log = waiters.log
    if output.activity or output.warnings:
        log.announced += 1
        log.add(partial(_write, output, logger))
        start(log.make)
    for origin, activity in output.client_activity:
        origin.calls.add(partial(_report, origin.listeners, activity, logger))
    for each in output.failed_events:
        each.origin.calls.add(partial(_tell, each.origin.on_error, each, logger))
    told = [origin.calls for origin, _ in output.client_activity]
    told += [each.origin.calls for each in output.failed_events]
    output.failed_events.clear()  # as above
    for calls in dict.fromkeys(told):
        start(calls.make)
    # A close ends after the lines of the log and the calls of the caller's functions so far.
    for ticket in output.closes:
        ended = partial(ticket.calls.then, partial(waiters.end, ticket), start)
        log.then(ended, start)


def _write(output: Output, logger: Logger) -> None:
    # A handler of the application's log may raise: there is nowhere to report that.
    for activity in output.activity:
        if (entry := line(activity)) is not None:
            with suppress(BaseException):
                logger.log(*entry)
    for warning in output.warnings:
        with suppress(BaseException):
            logger.warning(warning)


def _report(listeners: tuple[OnActivity, ...], activity: Activity, logger: Logger) -> None:
    for on_activity in listeners:
        try:
            call(on_activity, activity)
        except BaseException:
            with suppress(BaseException):
                logger.error(
                    "on_activity raised an exception; the client is not affected", exc_info=True
                )


def _tell(on_error: OnError | None, due: ErrorCall, logger: Logger) -> None:
    taken = False
    try:
        if on_error is not None:
            tell(on_error, due.failed, due.inside)
            taken = True
    except BaseException:
        with suppress(BaseException):
            logger.error("on_error raised an exception; the failure stays unclaimed", exc_info=True)
    finally:
        if due.claim is not None:
            due.claim.end(taken=taken)
