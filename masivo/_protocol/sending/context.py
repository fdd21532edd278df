"""The state that the parts of one key share: time, open requests, output."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

from masivo._protocol.delivery import Failed
from masivo._protocol.errors import (
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    one_line,
)
from masivo._protocol.output import Output
from masivo._protocol.reporting.activity import (
    RequestAbandoned,
    RequestFailed,
    ResponseReceived,
    RetryScheduled,
)
from masivo._protocol.reporting.losses import Losses
from masivo._protocol.reporting.redaction import causes_of, redacted, redacted_body, stripped
from masivo._protocol.storage.work import StoreDone, StoreWork
from masivo._protocol.values import Failure, Request, Response

from .backoff import Backoff
from .server_clock import ServerClock
from .timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo._protocol.delivery import CloseTicket, Delivery, Origin, Ticket
    from masivo._protocol.reporting.activity import Activity
    from masivo._protocol.settings import Account
    from masivo._protocol.values import Clock, OnError, RandomSource
    from masivo._protocol.wire.requests import Call

    from .attempt import Attempt

__all__ = ["Context"]

_Input: TypeAlias = "Delivery | Callable[[], None]"
_Done: TypeAlias = "Callable[[Response | Failure], None]"
_Then: TypeAlias = "Callable[[StoreDone], None]"


class Context:
    """The state of one API key that its parts share, without knowing them.

    Its arguments are those of ``Engine``, and ``attached``, which returns True while a
    client is attached.
    """

    def __init__(
        self,
        account: Account,
        clock: Clock,
        wall_clock: Clock,
        random: RandomSource,
        wake: Callable[[], None],
        attached: Callable[[], bool],
    ) -> None:
        self.account = account
        self.clock = clock
        self.wall_clock = wall_clock
        self.random = random
        self.wake = wake
        self.attached = attached
        self.now: float = clock()
        self.timers: Timers = Timers()
        self.backoff: Backoff = Backoff(random)
        self.server_clock: ServerClock = ServerClock(wall_clock)
        self.confirmed_clock: ServerClock = ServerClock(wall_clock)
        """The same, learned from each 2xx alone: others may be of something before the API."""
        self.inbox: deque[_Input] = deque()
        # Not a method: every event passes through it, and this is faster.
        self.input: Callable[[_Input], None] = self.inbox.append
        """Input: note something for the next poll: an event, or a function to be called."""
        self.touched: dict[object, None] = {}
        """The clients whose ``step`` runs in this poll."""
        self.all_touched: bool = False
        """True if all clients are touched."""
        self.listeners: dict[object, Origin] = {}
        """The clients with listeners, by their gates."""
        self.logged: bool = False
        """True while ``Output.activity`` is read."""
        self.listening: bool = False
        """True while activity is reported, there or to a client."""
        self.out: Output = Output(dropped=self.dropped)
        self.sent_inside: dict[Delivery, tuple[MasivoError | None, Sequence[OnError]]] = {}
        """Events that were sent inside ``on_error`` functions while nothing could go, with the
        reason and the functions: if that ends them, none of these is called again."""
        self.losses: Losses = Losses()
        self.latest_token: str | None = None
        """The last token, even a dead one: a response may still echo it."""
        self._failures: WeakValueDictionary[int, Failed] = WeakValueDictionary()
        self._requests: dict[int, tuple[Attempt, _Done]] = {}
        self._works: dict[int, _Then] = {}
        self._last_id = 0
        self._dropped: dict[object, tuple[MasivoError, int]] = {}

    def reset(self) -> None:
        """Drop the state: the last client has detached."""
        self.backoff = Backoff(self.random)
        for request_id in self._requests:
            self._abandoned(request_id, None)
        self._requests.clear()
        self.timers.clear()
        self.latest_token = None
        self.out.warnings.extend(self.losses.drain(self.now))

    def work(self, owner: object, steps: Sequence[Callable[[], object]], then: _Then) -> None:
        """Put out work on a store.

        Args:
            owner: see ``StoreWork.owner``.
            steps: the functions to call, in order.
            then: called with the result, in a later poll, whether a client is attached or not.
        """
        self._last_id += 1
        self._works[self._last_id] = then
        self.out.storage.append(StoreWork(self._last_id, steps, owner))

    def touch(self, client: object) -> None:
        """Run a client's ``step`` in this poll."""
        self.touched[client] = None

    def report(self, activity: Activity, client: object = None) -> None:
        """Put out activity. Check ``listening`` before making it.

        Args:
            activity: the activity.
            client: the gate of the client that it concerns; None: it concerns all clients.
        """
        if self.logged:
            self.out.activity.append(activity)
        for gate, origin in list(self.listeners.items()):  # a client may attach meanwhile
            if client is None or client is gate:
                origin.calls.announced += 1
                self.out.client_activity.append((origin, activity))

    # ── Requests ─────────────────────────────────────────────────────────────────────────────

    def send(
        self,
        attempt: Attempt,
        done: _Done,
        call: Call,
        timeout: float,
        *,
        retries: int,
        owner: object = None,
    ) -> Request:
        """Send a request for an attempt.

        Args:
            attempt: what is sent.
            done: called with the response or the failure, unless the attempt is forgotten first.
            call: the request.
            timeout: seconds for the whole request.
            retries: how many retries there may be in all.
            owner: see ``Request.owner``.
        """
        self._last_id += 1
        attempt.request_id = self._last_id
        attempt.sent_at = self.now
        attempt.failures = self.backoff.failures
        self._requests[self._last_id] = attempt, done
        request = Request(
            self._last_id,
            call.method,
            self.account.base_url + call.path,
            call.headers,
            call.body,
            timeout,
            owner,
            attempt.last_try or attempt.retries >= retries,
        )
        self.out.requests.append(request)
        return request

    def address(self, request: Request) -> str:
        """The request's address for a report: the caller's ``base_url`` may hold a secret."""
        return redacted(request.url, self.secrets(None))

    def returned(self, request_id: int, result: Response | Failure | StoreDone) -> None:
        """Pass the result of a request, or of work, to its callback, unless the attempt was
        forgotten."""
        if isinstance(result, StoreDone):
            if (then := self._works.pop(request_id, None)) is not None:
                then(result)
            return
        attempt, done = self._requests.pop(request_id, (None, None))
        if attempt is None or done is None:
            return
        attempt.request_id = None
        if isinstance(result, Response):
            success = 200 <= result.status < 300
            date = result.headers.get("date")
            self.server_clock.observe(date, self.now, success=success)
            if success:
                self.confirmed_clock.observe(date, self.now)
        if self.listening:
            seconds = self.now - attempt.sent_at
            report: Activity
            if isinstance(result, Response):
                report = ResponseReceived(
                    self.now, request_id, attempt.name, result.status, seconds
                )
            else:
                causes = causes_of(result.cause or result.fatal)
                status, sent = result.status, result.sent
                report = RequestFailed(
                    self.now, request_id, attempt.name, status, seconds, causes, sent
                )
            self.report(report, attempt.client)
        done(result)

    def forget(self, attempt: Attempt) -> None:
        """Ignore the result of the request that is out."""
        if attempt.request_id is not None:
            self._abandoned(attempt.request_id, attempt.client)
            del self._requests[attempt.request_id]
            attempt.request_id = None

    def _abandoned(self, request_id: int, client: object) -> None:
        if self.listening:
            self.report(RequestAbandoned(self.now, request_id), client)

    def retry(self, attempt: Attempt, *, retries: int, hurry: bool) -> bool:
        """Schedule a retry; return False if there were enough.

        Args:
            attempt: the attempt to send again.
            retries: how many retries there may be in all.
            hurry: True if a close cuts the wait short, for one last try.
        """
        if attempt.retries >= retries or attempt.last_try:
            return False
        attempt.retries += 1
        attempt.last_try = hurry
        attempt.not_before = self.now if hurry else self.now + self.backoff.wait()
        if self.listening:
            hold = self.backoff.hold_until
            by_hold = hold > attempt.not_before
            why = "last try" if hurry else "Retry-After" if by_hold else "backoff"
            wait = max(attempt.not_before, hold) - self.now
            retry = RetryScheduled(self.now, attempt.name, attempt.retries, wait, why)
            self.report(retry, attempt.client)
        return True

    def waits_until(self, attempt: Attempt, *, hurry: bool) -> float | None:
        """The time at which a waiting attempt may be sent; None: now."""
        at = max(attempt.not_before, self.backoff.hold_until)
        if at <= self.now:
            return None
        if hurry:
            attempt.last_try = True
            return None
        return at

    def error_of(self, failure: Failure, token: str | None) -> MasivoError:
        """The error for a request that got no complete response."""
        secrets = self.secrets(token)
        reason = one_line(redacted(failure.reason, secrets)) or "no usable response from the API"
        cause = None if failure.cause is None else stripped(failure.cause, secrets)
        if failure.fatal is not None:
            return MasivoConfigError(one_line(redacted(failure.fatal.message, secrets)))
        if not failure.sent:
            reason += redacted(f"; nothing was sent to {self.account.base_url}", secrets)
        error = MasivoNetworkError(reason, status=failure.status)
        error.__cause__ = cause
        return error

    def body_of(self, response: Response, token: str | None) -> bytes:
        """The response's body without the secrets that it might echo."""
        return redacted_body(response.body, self.secrets(token))

    def secrets(self, token: str | None) -> list[str]:
        """The texts that must not be shown: the key, the last token, and ``token``."""
        secrets = self.account.api_key.reveal(), token, self.latest_token
        return [each for each in secrets if each]

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def end(self, ticket: Ticket, outcome: str | bool | Failed) -> None:
        """End the wait for a ticket."""
        ticket.outcome = outcome
        self.out.tickets.append(ticket)

    def failed(self, error: MasivoError, count: int) -> Failed:
        """An error that ends events, and is reported while it is unclaimed."""
        failed = Failed(error, count, self.unclaimed)
        self._failures[id(failed)] = failed
        return failed

    def unclaimed(self, error: MasivoError, count: int) -> None:
        """Input: events failed, and their deliveries were dropped."""
        note = object()
        self._dropped[note] = (error, count)
        self.input(lambda: self.out.warnings.extend(self._warnings([note])))
        self.wake()

    def dropped(self) -> list[str]:
        """The warnings of failures that were dropped, and of which no poll has warned yet."""
        warnings = self._warnings(list(self._dropped))
        return warnings if self.attached() else [*warnings, *self.losses.drain(self.now)]

    def _warnings(self, notes: Sequence[object]) -> list[str]:
        warnings: list[str] = []
        for note in notes:
            if (dropped := self._dropped.pop(note, None)) is not None:
                warnings += self.losses.note(*dropped, self.now, suppress=not self.attached())
        if self.attached():  # or no timer fires: `reset` and `dropped` release what is suppressed
            # Some may have been suppressed between polls, when no timer could be set.
            warnings += self.losses.due(self.now)
        return warnings

    def warn_of_loss(self, error: MasivoError, count: int) -> None:
        """Warn of events that ended with an error; warnings are limited in number."""
        self.out.warnings.extend(self.losses.note(error, count, self.now))

    def report_unclaimed(self, ticket: CloseTicket) -> None:
        """Warn of every unclaimed failure, and of those that were suppressed; then end a ticket."""
        for reference in self._failures.valuerefs():
            if (failed := reference()) is not None and (count := failed.unclaimed()) > 0:
                self.losses.note(failed.error, count, self.now, suppress=True)
        self.out.warnings.extend(self.losses.drain(self.now))
        self.out.closes.append(ticket)
