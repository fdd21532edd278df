"""The batches of one client in flight: they are sent, retried, halved, and end.

The outbox adds them; waiting events are in its queue.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from masivo._protocol.errors import MasivoNetworkError
from masivo._protocol.reporting.activity import LongHold
from masivo._protocol.sending.timers import Timer
from masivo._protocol.values import Response, SendEventResult
from masivo._protocol.wire import requests, responses

from .issued_at import Stamper
from .outcomes import Outcomes
from .rejections import Rejections
from .reports import Reports

if TYPE_CHECKING:
    from masivo._protocol.errors import MasivoError
    from masivo._protocol.sending.context import Context
    from masivo._protocol.settings import Settings
    from masivo._protocol.token.authorizer import Authorizer
    from masivo._protocol.values import Failure

    from .batch import Batch, Part
    from .gate import Gate
    from .queues import Queue

__all__ = ["InFlight"]


class InFlight:
    """The batches of one client in flight, those that wait for a retry included."""

    def __init__(
        self, context: Context, authorizer: Authorizer, gate: Gate, owner: object, queue: Queue
    ) -> None:
        self.settings: Settings = gate.settings
        self.owner: object = owner
        self.gate: Gate = gate
        self.hurry: bool = False
        """True while the client closes with a deadline: waits before a retry are cut short."""

        self._context = context
        self._authorizer = authorizer
        self._queue = queue
        self._batches: list[Batch] = []
        self._in_flight: int = 0  # their events
        self._requests = 0
        self._retries = 0
        self._stamper = Stamper(context.server_clock)
        self._reports = Reports(context, gate)
        self._outcomes = Outcomes(context, gate, self._stamper, self._reports)
        self._rejections = Rejections()

    # ── Sending ──────────────────────────────────────────────────────────────────────────────

    def _advance(self, batch: Batch, now: float) -> None:
        """Send a batch's current part, if it is due and there is a token."""
        if batch.request_id is not None:
            return
        context = self._context
        error = context.backoff.long_hold(now) or self._authorizer.refusal()
        if error is not None:
            self._stop([batch], error)
            return
        at = context.waits_until(batch, hurry=self.hurry)
        context.timers.set((Timer.RETRY, (self, batch)), at)
        if at is None and (token := self._authorizer.token()) is not None:
            self._send(batch, token)

    def _retries_for(self, _batch: Batch) -> int:
        """The number of retries that a batch's part may have."""
        return self.settings.max_retries

    def _prepare(self, batch: Batch) -> Part:
        """Make a batch's current part ready to be sent."""
        if self._rejections.suspected:
            batch.send_first_alone()
        context, part = self._context, batch.part
        if not part.adopted:
            self._stamper.renew(part, context.now)
        part.key = part.key or f"{context.random.getrandbits(128):032x}"
        return part

    def _send(self, batch: Batch, token: str) -> None:
        context, part = self._context, self._prepare(batch)
        batch.token, batch.grant = token, self._authorizer.grants
        self._requests += 1
        call = requests.batch(self.settings.account.api, token, part.key, part.events)
        done = partial(self._returned, batch)
        timeout, retries = self.settings.timeout, self._retries_for(batch)
        request = context.send(batch, done, call, timeout, retries=retries, owner=self.owner)
        self._reports.sent(request, batch)

    # ── Results of requests ──────────────────────────────────────────────────────────────────

    def _returned(self, batch: Batch, result: Response | Failure) -> None:
        """Act on the result of a batch's request."""
        if isinstance(result, Response):
            self._responded(batch, result)
            return
        error = self._context.error_of(result, batch.token)
        if result.status is not None and 200 <= result.status < 300:
            cause, reason = error.__cause__, error.message
            error = MasivoNetworkError(
                f"{reason}; the API had begun to respond with success, so the events may have "
                "been accepted, and the client does not send them again",
                status=result.status,
            )
            error.__cause__ = cause
            self._part_failed(batch, error)
        elif result.fatal is not None:
            self._context.backoff.succeeded()
            self._give_up(batch, error)
        else:
            self._retry(batch, error, None)

    def _responded(self, batch: Batch, response: Response) -> None:
        """Act on the meaning of a response."""
        context = self._context
        body = context.body_of(response, batch.token)
        clean = Response(response.status, response.headers, body)
        verdict = responses.read_batch(clean, context.wall_clock())
        if isinstance(verdict, responses.Retryable):
            self._retry(batch, verdict.error, verdict.wait)
            return
        context.backoff.succeeded()
        if isinstance(verdict, responses.Delivered):
            self._part_delivered(batch, SendEventResult(True, response.status, verdict.data))
        elif isinstance(verdict, responses.Unauthorized):
            self._unauthorized(batch, verdict.error)
        elif isinstance(verdict, responses.Rejected):
            self._rejected(batch, verdict.error)
        else:
            self._give_up(batch, verdict.error)

    def _unauthorized(self, batch: Batch, error: MasivoError) -> None:
        """Discard a token that got a 401, and send the batch again with a fresh one. If the token
        was granted after the first 401, the API accepts no token of the key, and the key rests."""
        self._authorizer.reject(batch.token)
        if batch.unauthorized is None:
            batch.unauthorized = self._authorizer.grants
        if batch.grant > batch.unauthorized:
            self._authorizer.rest_key(error)
        else:
            self._context.touch(self)

    def _retry(self, batch: Batch, error: MasivoError, wait: float | None) -> None:
        """Send a batch again after a wait, unless it has had all its retries."""
        context = self._context
        batch.unauthorized = None
        context.backoff.failed(batch, wait, error, context.now)
        if context.backoff.long_hold(context.now) is not None:
            context.all_touched = True  # other batches that wait for a retry fail at once
            if context.listening:
                left = context.backoff.long_hold_until - context.now
                context.report(LongHold(context.now, left))
        elif context.retry(batch, retries=self._retries_for(batch), hurry=self.hurry):
            self._retries += 1
            context.touch(self)
            return
        self._give_up(batch, error)

    def _rejected(self, batch: Batch, error: MasivoError) -> None:
        """Find the events at fault by halving the batch, or fail them all."""
        name, isolate = batch.name, self.settings.isolate_rejected
        if isolate and self._stamped_wrong(batch):
            batch.send_anew()
            self._context.touch(self)
            return
        if not (isolate and batch.halve()):
            if isolate and (warning := self._rejections.event_rejected(error.status)) is not None:
                self._context.out.warnings.append(warning)
            self._part_failed(batch, error, rejected=True)
            return
        self._context.touch(self)
        self._reports.halved(name, batch)

    def _stamped_wrong(self, batch: Batch) -> bool:
        """Return True if an event was rejected alone under one of our stamps that has proved wrong
        since; the event is stamped anew then."""
        part = batch.part
        lone = len(part.deliveries) == 1 and not part.renewed
        return lone and self._stamper.renew(part, self._context.now)

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def _part_delivered(self, batch: Batch, result: SendEventResult) -> None:
        name = batch.name
        part = batch.next_part()
        batch.all_rejected = False
        self._rejections.delivered()
        self._land(batch, part, name, delivered=len(part.deliveries))
        self._outcomes.deliver(part, result)

    def _give_up(self, batch: Batch, error: MasivoError) -> None:
        """End a part that cannot be delivered now."""
        self._part_failed(batch, error)

    def _part_failed(self, batch: Batch, error: MasivoError, *, rejected: bool = False) -> None:
        name = batch.name
        part = batch.next_part()
        batch.all_rejected = batch.all_rejected and rejected and self.settings.isolate_rejected
        self._land(batch, part, name, delivered=0)
        self._outcomes.fail(part.deliveries, part.numbers, error, part.events)

    def _land(self, batch: Batch, part: Part, name: str, *, delivered: int) -> None:
        """Remove a batch that has no part left, or schedule its next part."""
        self._in_flight -= len(part.deliveries)
        if not batch.parts:
            if batch.all_rejected:
                self._rejections.batch_ended()
            self._batches.remove(batch)
            self._queue.release(batch.customers)
        else:
            batch.not_before = self._context.now + self._context.backoff.wait()
        self._context.touch(self)
        self._reports.settled(name, delivered, len(part.deliveries) - delivered)

    def _stop(self, batches: list[Batch], error: MasivoError) -> None:
        """End batches that cannot be sent now."""
        self._fail_batches(batches, error)

    def _fail_batches(self, batches: list[Batch], error: MasivoError) -> None:
        """Fail every part of the batches; results of their requests are ignored."""
        for batch in batches:
            self._batches.remove(batch)
            name, failed = batch.name, len(batch)
            for part in batch.remaining():
                self._in_flight -= len(part.deliveries)
                self._outcomes.fail(part.deliveries, part.numbers, error, part.events)
            self._reports.settled(name, 0, failed)
            self._context.forget(batch)
            self._context.timers.set((Timer.RETRY, (self, batch)), None)
            self._queue.release(batch.customers)
