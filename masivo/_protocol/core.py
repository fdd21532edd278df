"""What the parts of one key's state machine share, and what they ask of each other.

``Engine`` and ``Buffer`` are what a driver sees of it; this is behind them. All of it runs in
``Engine.poll``, but for what is marked as an input.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from . import __version__
from .authorizer import Authorization, Authorizer
from .causes import stripped
from .delivery import Delivery, Failed, Ticket
from .errors import (
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    api_error,
    not_json_error,
    one_line,
    second_401,
)
from .events import decode, envelope
from .flight import Attempt, Flight
from .json import NOT_JSON, parse
from .log import FailureLog
from .redaction import redacted, redacted_body
from .retry import ISOLATED, REPEATED, Backoff, retry_after
from .stamps import ServerClock
from .timers import Timer, Timers
from .values import FailedEvent, Failure, Output, Request, Response, SendEventResult, Settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from .journal import Journal
    from .outbox import Outbox
    from .settings import Account
    from .tally import FlushTicket
    from .values import Clock, RandomSource

__all__ = ["Core", "empty_output"]

_Input: TypeAlias = "Delivery | Callable[[], None]"


class Core:
    """The state of one API key, and the steps that its parts have in common.

    Its arguments are those of ``Engine``.
    """

    def __init__(
        self,
        account: Account,
        clock: Clock,
        wall_clock: Clock,
        random: RandomSource,
        wake: Callable[[], None],
    ) -> None:
        self.account = account
        self.clock = clock
        self.wake = wake
        self.now: float = clock()
        self.timers: Timers = Timers()
        self.backoff: Backoff = Backoff(random)
        self.server_clock: ServerClock = ServerClock(wall_clock)
        self.inbox: deque[_Input] = deque()
        # The function itself: every event goes through it.
        self.input: Callable[[_Input], None] = self.inbox.append
        """Input: note something for the next poll: an event, or what is to be called."""
        self.clients: dict[Outbox, None] = {}
        """The attached clients; see ``outboxes``."""
        self.touched: dict[Outbox, None] = {}
        """Those that are to look at their state again, in this poll."""
        self.authorizer: Authorizer = Authorizer(self, wall_clock, random)
        self.journal: Journal | None = None
        """Where to tell what is done; None while nobody reads it."""
        self.log: FailureLog = FailureLog()
        self.out: Output = empty_output()
        self._random = random
        self._requests: dict[int, Attempt] = {}
        self._last_id = 0
        self._quiet = False
        self._opening, self._closing = envelope(account.api.events_key)

    @property
    def outboxes(self) -> list[Outbox]:
        """The attached clients: a copy, as one may attach while another is looked at."""
        return list(self.clients)

    def rest(self) -> None:
        """Forget everything: the last client is gone."""
        self.authorizer.rest()
        self.backoff = Backoff(self._random)
        self._requests.clear()
        self.timers.clear()
        self.out.warnings.extend(self.log.drain(self.now))

    def abandon(self, outboxes: list[Outbox], why: str) -> None:
        """Detach these clients without sending, with one warning for all."""
        lost = sum(outbox.held for outbox in outboxes)
        error = MasivoClosedError(f"{why} before this could be delivered")
        self._quiet = True  # no further warning for what nobody asks about
        for outbox in outboxes:
            outbox.release(error)
        self._quiet = False
        if lost:
            events = "1 event was" if lost == 1 else f"{lost} events were"
            self.out.warnings.append(f"{events} not sent: {why}")

    # ── What outboxes and the authorizer need ────────────────────────────────────────────────

    def touch(self, outbox: Outbox) -> None:
        """Have the outbox look at its state again, in this poll."""
        self.touched[outbox] = None

    def touch_all(self) -> None:
        """Have every outbox look at its state again, in this poll."""
        self.touched.update(self.clients)

    def send_part(self, flight: Flight, token: str, timeout: float) -> None:
        """Send a flight's current part."""
        part = flight.part
        part.key = part.key or f"{self._random.getrandbits(128):032x}"
        flight.token = token
        self.send(
            flight,
            "POST",
            self.account.api.events_path,
            (
                ("authorization", f"Bearer {token}"),
                ("content-type", "application/json"),
                ("idempotency-key", part.key),
            ),
            b"".join((self._opening, b",".join(part.events), self._closing)),
            timeout,
            flight.outbox.owner,
        )

    def send(
        self,
        attempt: Attempt,
        method: str,
        path: str,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeout: float,
        owner: object = None,
    ) -> None:
        """Send a request for an attempt; its answer comes to ``answered`` or ``broken``."""
        self._last_id += 1
        attempt.request_id = self._last_id
        attempt.sent_at = self.now
        attempt.known = self.backoff.failures
        self._requests[self._last_id] = attempt
        common = (("accept", "application/json"), ("user-agent", f"masivo-python/{__version__}"))
        request = Request(
            self._last_id,
            method,
            self.account.base_url + path,
            headers + common,
            body,
            timeout,
            owner,
        )
        self.out.requests.append(request)
        if self.journal is not None:
            self.journal.sent(attempt, request)

    def forget(self, attempt: Attempt) -> None:
        """Take no interest in the answer to what is out, nor in a repeat."""
        if attempt.request_id is not None:
            del self._requests[attempt.request_id]
            attempt.request_id = None
        self.timers.set((Timer.REPEAT, attempt), None)

    def repeat(self, attempt: Attempt, *, retries: int, hurry: bool) -> bool:
        """Let an attempt be repeated after a wait; False if it has been, often enough."""
        if attempt.retries >= retries or attempt.last_try:
            return False
        attempt.retries += 1
        attempt.last_try = hurry
        attempt.not_before = self.now if hurry else self.now + self.backoff.wait()
        if self.journal is not None:
            self.journal.repeats(attempt)
        return True

    def waits_until(self, attempt: Attempt, *, hurry: bool) -> float | None:
        """When a waiting attempt may be sent; None for at once."""
        at = max(attempt.not_before, self.backoff.hold_until)
        if at <= self.now:
            return None
        if hurry:
            attempt.last_try = True
            return None
        return at

    def succeed(self, deliveries: list[Delivery], result: SendEventResult) -> None:
        """End events with the API's consent."""
        for delivery in deliveries:
            delivery.outcome = result
            delivery.encoded = b""
        self.out.settled.append(Settled(deliveries, result))

    def fail(self, outbox: Outbox, deliveries: list[Delivery], error: MasivoError) -> None:
        """End events with an error."""
        on_error = outbox.settings.on_error
        outcome = Failed(error, len(deliveries), None if self._quiet else self.unasked)
        for delivery in deliveries:
            if on_error is not None:
                event = FailedEvent(decode(delivery.encoded), error.copy())
                self.out.failed_events.append((on_error, event))
            delivery.outcome = outcome
            delivery.encoded = b""
        self.out.settled.append(Settled(deliveries, outcome))

    def answer(self, ticket: Ticket, outcome: str | bool | Failed) -> None:
        """End what a caller waits for."""
        ticket.outcome = outcome
        self.out.tickets.append(ticket)

    def answer_flush(self, ticket: FlushTicket) -> None:
        """End a flush."""
        ticket.outcome = ticket.result()
        self.out.tickets.append(ticket)
        if self.journal is not None:
            self.journal.flushed(ticket.outcome)

    def detach(self, outbox: Outbox) -> None:
        """Remove a client."""
        self.clients.pop(outbox, None)
        self.authorizer.detach(outbox)

    def unasked(self, error: MasivoError, count: int) -> None:
        """Input: events failed, and nobody will ever ask why."""
        self.input(partial(self._note_unasked, error, count))
        self.wake()

    def _note_unasked(self, error: MasivoError, count: int) -> None:
        # Without a client no timer will fire: what is held back now, `rest` logs in this poll.
        hold = not self.clients
        self.out.warnings.extend(self.log.note(error, count, self.now, hold=hold))

    # ── Answers ──────────────────────────────────────────────────────────────────────────────

    def answered(self, request_id: int, response: Response) -> None:
        """The complete answer to a request has come."""
        attempt = self._requests.pop(request_id, None)
        if attempt is None:
            return
        attempt.request_id = None
        if self.journal is not None:
            self.journal.answered(attempt, response.status)
        if isinstance(attempt, Authorization):
            self.authorizer.answered(attempt, response)
        elif isinstance(attempt, Flight):
            self._flight_answered(attempt, response)

    def broken(self, request_id: int, failure: Failure) -> None:
        """A request got no complete answer."""
        attempt = self._requests.pop(request_id, None)
        if attempt is None:
            return
        attempt.request_id = None
        if self.journal is not None:
            self.journal.broken(attempt, failure)
        token = attempt.token if isinstance(attempt, Flight) else None
        secrets = self.secrets(token)
        reason = one_line(redacted(failure.reason, secrets)) or "no usable answer from the API"
        cause = None if failure.cause is None else stripped(failure.cause, secrets)
        error: MasivoError
        if failure.fatal is not None:
            error = MasivoConfigError(one_line(redacted(failure.fatal.message, secrets)))
        else:
            if not failure.sent:
                reason += "; nothing was sent"
            error = MasivoNetworkError(reason, status=failure.status)
            error.__cause__ = cause
        if isinstance(attempt, Authorization):
            fatal = failure.fatal is not None
            self.authorizer.failed(
                attempt, error, repeatable=not fatal, definitive=fatal, wait=None
            )
        elif isinstance(attempt, Flight):
            accepted = failure.status is not None and 200 <= failure.status < 300
            if accepted:
                error = MasivoNetworkError(
                    f"{reason}; the API had begun to answer with success, so the events may have "
                    "been accepted, and are not sent again",
                    status=failure.status,
                )
                error.__cause__ = cause
            self._flight_failed(
                attempt, error, repeatable=not accepted and failure.fatal is None, wait=None
            )

    def _flight_answered(self, flight: Flight, response: Response) -> None:
        outbox, status = flight.outbox, response.status
        body = redacted_body(response.body, self.secrets(flight.token))
        if status == 401:
            self.authorizer.reject(flight.token)
            if flight.unauthorized:
                self._flight_failed(flight, second_401(body), repeatable=False, wait=None)
            else:
                self.backoff.succeeded()
                flight.unauthorized = True
                self.touch(outbox)
            return
        if 200 <= status < 300:
            self.backoff.succeeded()
            data = parse(body)
            if data is NOT_JSON:
                error = not_json_error(status, body)
                self._flight_failed(flight, error, repeatable=False, wait=None)
            else:
                outbox.part_delivered(flight, SendEventResult(True, status, data))
        elif status in REPEATED:
            wait = retry_after(response.headers, self.server_clock)
            self._flight_failed(flight, api_error(status, body), repeatable=True, wait=wait)
        elif status in ISOLATED and outbox.settings.isolate_rejected and flight.halve():
            self.backoff.succeeded()
            self.touch(outbox)
            if self.journal is not None:
                self.journal.halved(flight)
        else:
            self._flight_failed(flight, api_error(status, body), repeatable=False, wait=None)

    def _flight_failed(
        self, flight: Flight, error: MasivoError, *, repeatable: bool, wait: float | None
    ) -> None:
        outbox = flight.outbox
        if repeatable:
            flight.unauthorized = False
            self.backoff.failed(flight.known, wait, error, self.now)
            if self.backoff.refuses(self.now) is not None:
                self.touch_all()  # other batches that wait for a repeat fail at once
                if self.journal is not None:
                    self.journal.refuses()
            elif self.repeat(flight, retries=outbox.settings.max_retries, hurry=outbox.hurry):
                outbox.count_retry()
                self.touch(outbox)
                return
        elif not isinstance(error, MasivoNetworkError):
            self.backoff.succeeded()
        outbox.part_failed(flight, error)

    def secrets(self, token: str | None) -> list[str]:
        """What must not be shown: the key, the last token, and the one that was used."""
        secrets = self.account.api_key.reveal(), token, self.authorizer.latest
        return [each for each in secrets if each]


def empty_output() -> Output:
    """What a poll has put out when it begins."""
    return Output([], [], [], [], [], None, closed=False)
