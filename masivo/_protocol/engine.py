"""The state machine of one API key: it routes inputs to buffers, batches and the token.

The calling contract is stated in :mod:`masivo.protocol`.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from . import __version__
from .authorizer import Authorization, Authorizer
from .buffer import Buffer
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
from .journal import INFO, Journal
from .json import NOT_JSON, parse
from .log import FailureLog
from .redaction import redacted, redacted_body
from .retry import ISOLATED, REPEATED, Backoff, retry_after
from .stamps import ServerClock
from .timers import Slot, Timer, Timers
from .token import State
from .values import (
    FailedEvent,
    Failure,
    Output,
    Request,
    Response,
    SendEventResult,
    Settled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Account, Settings
    from .tally import FlushTicket
    from .values import Clock, RandomSource

__all__ = ["Engine"]

_LOG: Final[Slot] = (Timer.LOG, None)

_ROW: Final = 128
"""So many events are taken in together: few enough to be in the processor's cache still when their
sizes are summed up and they are queued. Twenty thousand in one go took half as long again."""

_Input: TypeAlias = "Delivery | Callable[[], None]"


class Engine:
    """One API key's state machine; clients attach to it.

    Every input may be called at any time, from any thread, from a signal handler or a finalizer:
    it only notes what happened. All work is done by ``poll``, which must not run twice at once.

    Args:
        account: the key and where it is used.
        clock: monotonic seconds.
        wall_clock: seconds since the epoch; used only where no server told the time.
        random: for jitter and idempotency keys.
        wake: called when ``poll`` is needed before the time that it last named. Called from
            wherever the input came: it must be safe there, and must not poll.
        log_level: asked at each poll for the least level that is read of ``Output.notes``, such
            as ``logger.getEffectiveLevel``; None: nobody reads them.
    """

    def __init__(
        self,
        account: Account,
        *,
        clock: Clock,
        wall_clock: Clock,
        random: RandomSource,
        wake: Callable[[], None],
        log_level: Callable[[], int] | None = None,
    ) -> None:
        self.account = account
        self.clock = clock
        self.wake = wake
        self.now: float = clock()
        self.timers: Timers = Timers()
        self.backoff: Backoff = Backoff(random)
        self.server_clock: ServerClock = ServerClock(wall_clock)
        self._random = random
        self._inbox: deque[_Input] = deque()
        # The function itself: every event goes through it.
        self.input: Callable[[_Input], None] = self._inbox.append
        """Note something for the next poll: an event, or what is to be called."""
        self._buffers: dict[Buffer, None] = {}
        self._touched: dict[Buffer, None] = {}
        self.authorizer: Authorizer = Authorizer(self, wall_clock, random)
        self._requests: dict[int, Attempt] = {}
        self._last_id = 0
        self._log = FailureLog()
        self._log_level = log_level
        self.journal: Journal | None = None
        """Where to tell what is done; None while nobody reads it."""
        self._polling = False
        self._quiet = False
        self._out = _empty_output()
        self._opening, self._closing = envelope(account.api.events_key)

    def __repr__(self) -> str:
        return f"<Engine {self.account.base_url} token={self.authorizer.state.value}>"

    # ── Inputs ───────────────────────────────────────────────────────────────────────────────

    def attach(
        self, settings: Settings, delivery_type: type[Delivery] = Delivery, owner: object = None
    ) -> Buffer:
        """Add a client; its inputs are methods of the buffer that is returned.

        Args:
            settings: the client's settings, of this engine's account.
            delivery_type: what ``Buffer.send`` makes.
            owner: kept as ``Buffer.owner``, for the driver.

        Raises:
            ValueError: the settings are of another account.
        """
        if settings.account != self.account:
            raise ValueError("these settings are of another account than the engine's")
        buffer = Buffer(self, settings, delivery_type, owner)
        self._buffers[buffer] = None
        if self.authorizer.state is not State.ABSENT:
            # It may want the token renewed sooner than the others do.
            self.input(self.authorizer.set_renewal)
            self.wake()
        return buffer

    @property
    def attached(self) -> bool:
        """Whether a client is attached."""
        return bool(self._buffers)

    @property
    def buffers(self) -> list[Buffer]:
        """The attached clients' buffers: a copy, as a client may attach while one looks."""
        return list(self._buffers)

    @property
    def pending(self) -> bool:
        """Whether inputs wait for a poll."""
        return bool(self._inbox)

    def handle_response(self, request_id: int, response: Response) -> None:
        """Hand back the complete answer to a request. Late and unknown ones are ignored.

        Raises:
            TypeError: ``response`` is no Response.
        """
        if not isinstance(response, Response):
            raise TypeError("handle_response takes a Response")
        self.input(partial(self._answered, request_id, response))

    def handle_failure(self, request_id: int, failure: Failure) -> None:
        """Report that a request got no complete answer. Late and unknown ones are ignored.

        Raises:
            TypeError: ``failure`` is no Failure.
        """
        if not isinstance(failure, Failure):
            raise TypeError("handle_failure takes a Failure")
        self.input(partial(self._broken, request_id, failure))

    def hand_back(self, request_id: int, result: Response | Failure) -> None:
        """``handle_response`` or ``handle_failure``, whichever it is.

        Raises:
            TypeError: ``result`` is neither.
        """
        if isinstance(result, Response):
            self.handle_response(request_id, result)
        else:
            self.handle_failure(request_id, result)

    def abort(self, why: str) -> None:
        """Detach every client without sending: the driver cannot go on.

        Undelivered events fail with MasivoClosedError, and one warning says how many.

        Args:
            why: what happened, such as "the event loop was closed".
        """
        self.input(lambda: self.abandon(self.buffers, why))

    # ── Output ───────────────────────────────────────────────────────────────────────────────

    def poll(self) -> Output:
        """Do everything that is to be done now, and say what the driver must do.

        Raises:
            RuntimeError: another poll is running.
        """
        if self._polling:
            raise RuntimeError("poll() called while another poll() is running")
        self._polling = True
        try:
            self.now = max(self.now, self.clock())
            if self._log_level is not None:
                self._open_journal(self._log_level())
            self._take_in()
            self._run()
        finally:
            self._polling = False
        wake_at = self.timers.next()
        if self.journal is not None:
            self.journal.rests(wake_at)
        out, self._out = self._out, _empty_output()
        return Output(
            out.requests,
            out.settled,
            out.tickets,
            out.failed_events,
            out.warnings,
            wake_at,
            closed=not self._buffers,
            notes=None if self.journal is None else self.journal.notes,
        )

    def _open_journal(self, level: int) -> None:
        if level > INFO:
            self.journal = None
        elif self.journal is None:
            self.journal = Journal(self, level)
        else:
            self.journal.level = level

    def _take_in(self) -> None:
        # What arrives from now on is for the next poll: a busy sender must not keep this one.
        # Events of one client in a row are taken in together, which is four times cheaper.
        row: list[Delivery] = []
        buffer: Buffer | None = None
        popleft = self._inbox.popleft
        for _ in range(len(self._inbox)):
            item = popleft()
            if callable(item):
                if buffer is not None:
                    buffer.take_in(row)
                    row, buffer = [], None
                item()
                continue
            if item.buffer is not buffer or len(row) == _ROW:
                if buffer is not None:
                    buffer.take_in(row)
                row, buffer = [], item.buffer
            row.append(item)
        if buffer is not None:
            buffer.take_in(row)

    def _run(self) -> None:
        stepped: dict[Buffer, None] = {}
        while True:
            for timer, owner in self.timers.due(self.now):
                if self.journal is not None:
                    self.journal.fired(timer)
                if timer is Timer.REFRESH:
                    self.authorizer.renew()
                elif timer is Timer.LOG:
                    self._out.warnings.extend(self._log.due(self.now))
                elif isinstance(owner, Buffer):
                    owner.fire(timer)
                elif isinstance(owner, Flight):
                    self.touch(owner.buffer)
            if not self._touched:
                break
            touched, self._touched = self._touched, {}
            for buffer in touched:
                buffer.step(self.now)
            stepped.update(touched)
        # Last, as the last client may just have gone: then nobody wants a token.
        self.authorizer.step()
        if any(buffer.wants_poll for buffer in stepped):
            # Events came in during this poll, before their senders could see the new threshold.
            self.wake()
        self.timers.set(_LOG, self._log.next())
        if not self._buffers:
            self._rest()

    def _rest(self) -> None:
        """Forget everything: the last client is gone."""
        self.authorizer.rest()
        self.backoff = Backoff(self._random)
        self._requests.clear()
        self.timers.clear()
        self._out.warnings.extend(self._log.drain(self.now))

    def abandon(self, buffers: list[Buffer], why: str) -> None:
        """Detach these clients without sending, with one warning for all."""
        lost = sum(buffer.held for buffer in buffers)
        error = MasivoClosedError(f"{why} before this could be delivered")
        self._quiet = True  # no further warning for what nobody asks about
        for buffer in buffers:
            buffer.release(error)
        self._quiet = False
        if lost:
            events = "1 event was" if lost == 1 else f"{lost} events were"
            self._out.warnings.append(f"{events} not sent: {why}")

    # ── What buffers need ────────────────────────────────────────────────────────────────────

    def touch(self, buffer: Buffer) -> None:
        """Have the buffer look at its state again, in this poll."""
        self._touched[buffer] = None

    def touch_all(self) -> None:
        """Have every buffer look at its state again, in this poll."""
        self._touched.update(self._buffers)

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
            flight.buffer.owner,
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
        self._out.requests.append(request)
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
        self._out.settled.append(Settled(deliveries, result))

    def fail(self, buffer: Buffer, deliveries: list[Delivery], error: MasivoError) -> None:
        """End events with an error."""
        on_error = buffer.settings.on_error
        outcome = Failed(error, len(deliveries), None if self._quiet else self.unasked)
        for delivery in deliveries:
            if on_error is not None:
                event = FailedEvent(decode(delivery.encoded), error.copy())
                self._out.failed_events.append((on_error, event))
            delivery.outcome = outcome
            delivery.encoded = b""
        self._out.settled.append(Settled(deliveries, outcome))

    def answer(self, ticket: Ticket, outcome: str | bool | Failed) -> None:
        """End what a caller waits for."""
        ticket.outcome = outcome
        self._out.tickets.append(ticket)

    def answer_flush(self, ticket: FlushTicket) -> None:
        """End a flush."""
        ticket.outcome = ticket.result()
        self._out.tickets.append(ticket)
        if self.journal is not None:
            self.journal.flushed(ticket.outcome)

    def detach(self, buffer: Buffer) -> None:
        """Remove a client."""
        self._buffers.pop(buffer, None)
        self.authorizer.detach(buffer)

    def unasked(self, error: MasivoError, count: int) -> None:
        """Input: events failed, and nobody will ever ask why."""
        self.input(partial(self._note_unasked, error, count))
        self.wake()

    def _note_unasked(self, error: MasivoError, count: int) -> None:
        # Without a client no timer will fire: what is held back now, `_rest` logs in this poll.
        hold = not self._buffers
        self._out.warnings.extend(self._log.note(error, count, self.now, hold=hold))

    # ── Answers ──────────────────────────────────────────────────────────────────────────────

    def _answered(self, request_id: int, response: Response) -> None:
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

    def _broken(self, request_id: int, failure: Failure) -> None:
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
        buffer, status = flight.buffer, response.status
        body = redacted_body(response.body, self.secrets(flight.token))
        if status == 401:
            self.authorizer.reject(flight.token)
            if flight.unauthorized:
                self._flight_failed(flight, second_401(body), repeatable=False, wait=None)
            else:
                self.backoff.succeeded()
                flight.unauthorized = True
                self.touch(buffer)
            return
        flight.unauthorized = False
        if 200 <= status < 300:
            self.backoff.succeeded()
            data = parse(body)
            if data is NOT_JSON:
                error = not_json_error(status, body)
                self._flight_failed(flight, error, repeatable=False, wait=None)
            else:
                buffer.part_delivered(flight, SendEventResult(True, status, data))
        elif status in REPEATED:
            wait = retry_after(response.headers, self.server_clock)
            self._flight_failed(flight, api_error(status, body), repeatable=True, wait=wait)
        elif status in ISOLATED and buffer.settings.isolate_rejected and flight.halve():
            self.backoff.succeeded()
            self.touch(buffer)
            if self.journal is not None:
                self.journal.halved(flight)
        else:
            self._flight_failed(flight, api_error(status, body), repeatable=False, wait=None)

    def _flight_failed(
        self, flight: Flight, error: MasivoError, *, repeatable: bool, wait: float | None
    ) -> None:
        buffer = flight.buffer
        if repeatable:
            flight.unauthorized = False
            self.backoff.failed(flight.known, wait, error, self.now)
            if self.backoff.refuses(self.now) is not None:
                self.touch_all()  # other batches that wait for a repeat fail at once
                if self.journal is not None:
                    self.journal.refuses()
            elif self.repeat(flight, retries=buffer.settings.max_retries, hurry=buffer.hurry):
                buffer.retries += 1
                self.touch(buffer)
                return
        elif not isinstance(error, MasivoNetworkError):
            self.backoff.succeeded()
        buffer.part_failed(flight, error)

    def secrets(self, token: str | None) -> list[str]:
        """What must not be shown: the key, the last token, and the one that was used."""
        secrets = self.account.api_key.reveal(), token, self.authorizer.latest
        return [each for each in secrets if each]


def _empty_output() -> Output:
    return Output([], [], [], [], [], None, closed=False)
