"""What the parts of one key's state machine share: time, what is out, what goes out."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from . import __version__
from .causes import stripped
from .errors import MasivoConfigError, MasivoError, MasivoNetworkError, one_line
from .events import decode
from .log import FailureLog
from .output import Output, Settled
from .redaction import redacted
from .retry import Backoff
from .stamps import ServerClock
from .timers import Timers
from .values import FailedEvent, Failure, Request, Response, SendEventResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from .attempt import Attempt
    from .delivery import Delivery, Failed, Ticket
    from .journal import Journal
    from .settings import Account
    from .values import Clock, OnError, RandomSource

__all__ = ["Context"]

_Input: TypeAlias = "Delivery | Callable[[], None]"
_Done: TypeAlias = "Callable[[Response | Failure], None]"


class Context:
    """The state of one API key that its parts share. It knows none of them.

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
        self.wall_clock = wall_clock
        self.random = random
        self.wake = wake
        self.now: float = clock()
        self.timers: Timers = Timers()
        self.backoff: Backoff = Backoff(random)
        self.server_clock: ServerClock = ServerClock(wall_clock)
        self.inbox: deque[_Input] = deque()
        # The function itself: every event goes through it.
        self.input: Callable[[_Input], None] = self.inbox.append
        """Input: note something for the next poll: an event, or what is to be called."""
        self.touched: dict[object, None] = {}
        """The clients that are to look at their state again, in this poll."""
        self.all_touched: bool = False
        """Whether all are."""
        self.journal: Journal | None = None
        """Where to tell what is done; None while nobody reads it."""
        self.out: Output = Output([], [], [], [], [], None, closed=False)
        self.log: FailureLog = FailureLog()
        self.attached: bool = False
        """Whether a client is attached."""
        self.latest_token: str | None = None
        """The last token that there was, also when it is dead: an answer may still echo it."""
        self._requests: dict[int, tuple[Attempt, _Done]] = {}
        self._last_id = 0

    def rest(self) -> None:
        """Forget what is out: the last client is gone."""
        self.backoff = Backoff(self.random)
        self._requests.clear()
        self.timers.clear()
        self.latest_token = None
        self.out.warnings.extend(self.log.drain(self.now))

    def touch(self, client: object) -> None:
        """Have a client look at its state again, in this poll."""
        self.touched[client] = None

    # ── Requests ─────────────────────────────────────────────────────────────────────────────

    def send(
        self,
        attempt: Attempt,
        done: _Done,
        method: str,
        path: str,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeout: float,
        owner: object = None,
    ) -> None:
        """Send a request for an attempt; ``done`` is called with what became of it."""
        self._last_id += 1
        attempt.request_id = self._last_id
        attempt.sent_at = self.now
        attempt.known = self.backoff.failures
        self._requests[self._last_id] = attempt, done
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

    def returned(self, request_id: int, result: Response | Failure) -> None:
        """What became of a request; nothing, if nobody takes an interest any more."""
        attempt, done = self._requests.pop(request_id, (None, None))
        if attempt is None or done is None:
            return
        attempt.request_id = None
        if self.journal is not None:
            if isinstance(result, Response):
                self.journal.answered(attempt, result.status, self.now)
            else:
                self.journal.broken(attempt, result, self.now)
        done(result)

    def forget(self, attempt: Attempt) -> None:
        """Take no interest in the answer to what is out."""
        if attempt.request_id is not None:
            del self._requests[attempt.request_id]
            attempt.request_id = None

    def repeat(self, attempt: Attempt, *, retries: int, hurry: bool) -> bool:
        """Let an attempt be repeated after a wait; False if it has been, often enough."""
        if attempt.retries >= retries or attempt.last_try:
            return False
        attempt.retries += 1
        attempt.last_try = hurry
        attempt.not_before = self.now if hurry else self.now + self.backoff.wait()
        if self.journal is not None:
            self.journal.repeats(attempt, self.backoff.hold_until, self.now)
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

    def error_of(self, failure: Failure, token: str | None) -> MasivoError:
        """The error for a request that got no complete answer."""
        secrets = self.secrets(token)
        reason = one_line(redacted(failure.reason, secrets)) or "no usable answer from the API"
        cause = None if failure.cause is None else stripped(failure.cause, secrets)
        if failure.fatal is not None:
            return MasivoConfigError(one_line(redacted(failure.fatal.message, secrets)))
        if not failure.sent:
            reason += "; nothing was sent"
        error = MasivoNetworkError(reason, status=failure.status)
        error.__cause__ = cause
        return error

    def secrets(self, token: str | None) -> list[str]:
        """What must not be shown: the key, the last token, and the one that was used."""
        secrets = self.account.api_key.reveal(), token, self.latest_token
        return [each for each in secrets if each]

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def succeed(self, deliveries: list[Delivery], result: SendEventResult) -> None:
        """End events with the API's consent."""
        for delivery in deliveries:
            delivery.outcome = result
            delivery.encoded = b""
        self.out.settled.append(Settled(deliveries, result))

    def fail(self, deliveries: list[Delivery], outcome: Failed, on_error: OnError | None) -> None:
        """End events with an error."""
        for delivery in deliveries:
            if on_error is not None:
                event = FailedEvent(decode(delivery.encoded), outcome.error.copy())
                self.out.failed_events.append((on_error, event))
            delivery.outcome = outcome
            delivery.encoded = b""
        self.out.settled.append(Settled(deliveries, outcome))

    def answer(self, ticket: Ticket, outcome: str | bool | Failed) -> None:
        """End what a caller waits for."""
        ticket.outcome = outcome
        self.out.tickets.append(ticket)

    def unasked(self, error: MasivoError, count: int) -> None:
        """Input: events failed, and nobody will ever ask why."""
        self.input(partial(self._note_unasked, error, count))
        self.wake()

    def _note_unasked(self, error: MasivoError, count: int) -> None:
        # Without a client no timer will fire: what is held back now, `rest` logs in this poll.
        hold = not self.attached
        self.out.warnings.extend(self.log.note(error, count, self.now, hold=hold))
