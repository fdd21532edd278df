"""Defects to seed into the core: the rule that each breaks, and what it puts in the rule's place.

They change the core while it runs, as ``pytest.MonkeyPatch`` does: a name that is gone is an error.
``python -m tests.simulation.defects``, or ``make defects``, shows the seed that finds each.
"""

# pyright: basic
# Functions that replace those of the core are lambdas, which cannot be annotated.

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import msgspec

from masivo._protocol import buffer, settings
from masivo._protocol.batches import (
    batch,
    gate,
    issued_at,
    outbox,
    outcomes,
    queues,
    rejections,
    reports,
    triggers,
)
from masivo._protocol.batches.flushes import Flushes
from masivo._protocol.clients import Clients
from masivo._protocol.delivery import Delivery, Failed
from masivo._protocol.errors import MasivoClosedError, MasivoError
from masivo._protocol.events import form
from masivo._protocol.reporting import lines, losses
from masivo._protocol.sending import backoff, context, server_clock, timers
from masivo._protocol.settle import Waiters
from masivo._protocol.token import authorizer, life
from masivo._protocol.token.life import Change, State
from masivo._protocol.values import Response
from masivo._protocol.wire import requests, responses, tokens
from masivo._protocol.wire.statuses import RETRYABLE

from .frame import hunt_all
from .run import SIMULATOR

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from .frame import Defect

__all__ = ["DEFECTS", "hunt"]

SEEDS: Final = 2000
"""Within so many seeds every defect is to be found."""
LATE: Final[dict[str, int]] = {
    "events that come in during a poll wait for the next": 1363,
    "a cancelled flush is reported": 750,
    "a caller that waits for an event in flight pushes": 429,
    "a token that replaced another before the first 401 counts as fresh": 314,
}
"""A seed that finds what no early one does. It is tried first; after a change of plans, anew."""


def becomes(owner: object, name: str, value: object) -> Defect:
    """A constant, a function or a method is another."""
    return lambda patch: patch.setattr(owner, name, value)


def around(owner: object, name: str, wrapper: Callable[..., Any]) -> Defect:
    """A function or a method is ``wrapper``, which is given the original as its first argument."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)
        patch.setattr(owner, name, lambda *args, **named: wrapper(original, *args, **named))

    return apply


def before(owner: object, name: str, first: Callable[..., object]) -> Defect:
    """A method does something else first."""

    def wrapper(original: Any, *args: Any, **named: Any) -> Any:
        first(*args)
        return original(*args, **named)

    return around(owner, name, wrapper)


def after(owner: object, name: str, then: Callable[..., object]) -> Defect:
    """A method does something more in the end."""

    def wrapper(original: Any, *args: Any, **named: Any) -> Any:
        result = original(*args, **named)
        then(*args)
        return result

    return around(owner, name, wrapper)


def lacks(table: dict[Any, Any], key: object) -> Defect:
    """A table lacks an entry."""
    return lambda patch: patch.delitem(table, key)


def change(owner: object, name: str, value: object) -> None:
    """Change an attribute that is there."""
    getattr(owner, name)
    setattr(owner, name, value)


def nothing(*_args: object, **_named: object) -> None:
    """A method that does nothing."""


def _settings(**changes: object) -> Callable[..., object]:
    """A wrapper of an initializer whose first argument is settings: it is given others."""
    return lambda original, self, given, *args: original(
        self, msgspec.structs.replace(given, **changes), *args
    )


def _headers(call: requests.Call, without: str) -> requests.Call:
    headers = tuple(header for header in call.headers if header[0] != without)
    return msgspec.structs.replace(call, headers=headers)


def _own_clock(original: Any, response: Response, wall_time: float) -> Any:
    headers = {k: v for k, v in response.headers.items() if k != "date"}
    return original(Response(response.status, headers, response.body), wall_time)


def _no_reserved_types(original: Any, settings: Any) -> Any:
    api = replace(settings.account.api, reserved_types=frozenset())
    account = msgspec.structs.replace(settings.account, api=api)
    return original(msgspec.structs.replace(settings, account=account))


def _default_for_none(original: Any, settings: Any) -> Any:
    encode = original(settings)
    return lambda event: encode(
        {key: value for key, value in event.items() if (key, value) != ("brand_id", None)}
    )


def _first_only(original: Any, self: Any, error: MasivoError, **named: Any) -> None:
    for client in self.outboxes[:1]:
        client.fail_waiting(error)


def _hold_shrinks(self: Any, wait: float | None, *_: Any) -> None:
    if wait is not None:
        self.hold_until = 0.0


def _move_deadline(self: Any, _ticket: Any, deadline: float | None, *_: Any) -> None:
    if deadline is not None:
        self._context.timers.set((timers.Timer.CLOSE, self), None)


def _halving_stops(patch: pytest.MonkeyPatch) -> None:
    """Halving stops for good after 8 events in a row that were rejected alone."""
    alone: WeakKeyDictionary[batch.Batch, int] = WeakKeyDictionary()

    def reject(_self: Any, of: batch.Batch, _error: MasivoError) -> None:
        alone[of] = alone.get(of, 0) + (len(of.part.deliveries) == 1)

    def halve(original: Any, self: batch.Batch) -> bool:
        return alone.get(self, 0) < 8 and original(self)

    def deliver(_self: Any, of: batch.Batch, _result: object) -> None:
        if alone.get(of, 0) < 8:
            alone[of] = 0

    before(outbox.Outbox, "_rejected", reject)(patch)
    before(outbox.Outbox, "_part_delivered", deliver)(patch)
    around(batch.Batch, "halve", halve)(patch)


def _second_401_ends_its_batch(
    original: Any, self: Any, of: batch.Batch, error: MasivoError
) -> None:
    if of.unauthorized is None:
        original(self, of, error)
    else:
        self._authorizer.reject(of.token)
        self._part_failed(of, error)


def _batches_tell_no_time(original: Any, self: Any, request_id: int, result: Any) -> None:
    attempt, _ = self._requests.get(request_id, (None, None))
    if isinstance(attempt, batch.Batch):
        self.server_clock.observe = nothing
    original(self, request_id, result)
    vars(self.server_clock).pop("observe", None)


def _same_key(original: Any, self: Any, part: batch.Part, *args: Any) -> bool:
    key = part.key
    renewed: bool = original(self, part, *args)
    part.key = key
    return renewed


DEFECTS: Final[dict[str, Defect]] = {
    # ── wire ──────────────────────────────────────────────────────────────────────────────────────
    "504 is not retried": becomes(responses, "RETRYABLE", RETRYABLE - {504}),
    "a Retry-After date is compared with our own clock": around(
        responses, "retry_after", _own_clock
    ),
    "a token may hold a blank": becomes(tokens, "is_header_value", lambda _text: True),
    "a stamp is rounded up": around(
        issued_at, "format_stamp", lambda original, seconds: original(seconds + 0.0005)
    ),
    "a gzip body does not say so": around(
        requests, "batch", lambda original, *args: _headers(original(*args), "content-encoding")
    ),
    # ── events ────────────────────────────────────────────────────────────────────────────────────
    "the default brand replaces an explicit None": around(buffer, "encoder", _default_for_none),
    "a reserved type may be sent": around(buffer, "encoder", _no_reserved_types),
    "max_event_bytes does not count": around(
        buffer,
        "encoder",
        lambda original, settings: original(
            msgspec.structs.replace(settings, max_event_bytes=settings.max_batch_bytes)
        ),
    ),
    "before_send is not for this event": becomes(buffer, "replaced", lambda event, _hook: event),
    "an event that before_send drops is sent": around(
        buffer, "replaced", lambda original, event, hook: original(event, hook) or event
    ),
    "the size of an event is without its stamp": becomes(form, "STAMP_SIZE", 0),
    # ── batches ───────────────────────────────────────────────────────────────────────────────────
    "max_wait does not count": around(triggers.Triggers, "__init__", _settings(max_wait=1e9)),
    "a flush does not push": around(
        triggers.Triggers,
        "push",
        lambda original, self, number, why: why == "flush" or original(self, number, why),
    ),
    "the driver oversleeps a whole batch": around(
        triggers.Triggers,
        "missing",
        lambda original, *args, **named: original(*args, **named)._replace(events=math.inf),
    ),
    "a caller that waits does not push": around(
        triggers.Triggers,
        "push_awaited",
        lambda original, self, number, now: original(self, 0, now),
    ),
    "a caller that waits does not wake the driver": before(
        buffer.Buffer, "begin_wait", lambda self, *_: change(self._gate, "wake_wait", math.inf)
    ),
    "a caller that has given up pushes": becomes(outbox.Outbox, "end_wait", nothing),
    "a caller that waits for an event in flight pushes": becomes(
        outbox.Outbox, "_is_in_flight", lambda _self, _delivery: False
    ),
    "an event that goes leaves its callers' waits behind": becomes(
        triggers.Triggers, "gone", nothing
    ),
    "one batch more than max_in_flight is in flight": before(
        outbox.Outbox,
        "_form",
        lambda self, _now: change(
            self,
            "settings",
            msgspec.structs.replace(
                self.settings, max_in_flight=self.gate.settings.max_in_flight + 1
            ),
        ),
    ),
    "a customer with a whole batch does not go first": around(
        queues.PerCustomer, "__init__", lambda original, self, _batch: original(self, 10**9)
    ),
    "a later close moves the deadline": before(outbox.Outbox, "close", _move_deadline),
    "a stamp may be before an earlier one": before(
        issued_at.Stamper, "stamped", lambda self, *_: change(self, "_until", -math.inf)
    ),
    "halving stops after 8 events that were rejected alone": _halving_stops,
    "halves are sent in the wrong order": around(
        batch.Part, "split", lambda original, self, first: original(self, first)[::-1]
    ),
    "events are halved though everything is rejected": becomes(
        rejections.Rejections, "suspected", property(lambda _self: False)
    ),
    "an accepted event does not end the suspicion": becomes(
        rejections.Rejections, "delivered", nothing
    ),
    "a retry is taken apart": before(
        batch.Batch, "send_first_alone", lambda self: change(self.part, "key", "")
    ),
    "a batch does not know its oldest event": after(
        batch.Batch, "note_oldest", lambda self, *_: change(self, "oldest", math.inf)
    ),
    "a part has only the retries that are left": becomes(
        batch.Batch, "_begin_part", lambda self: change(self, "unauthorized", False)
    ),
    "a cancelled flush is reported": becomes(Flushes, "cancel", nothing),
    "on_error is told again what it sends": becomes(
        outbox.Outbox, "enqueue_inside", lambda self, delivery, _inside: self.enqueue([delivery])
    ),
    "a failed event goes to on_error as it was given": around(
        outcomes.Outcomes,
        "fail",
        lambda original, self, deliveries, numbers, error, _events=None: original(
            self, deliveries, numbers, error, [each.encoded for each in deliveries]
        ),
    ),
    "a closed client is no reason to send again": becomes(
        MasivoClosedError, "retryable", property(lambda _self: False)
    ),
    "a drain does not wait for room": becomes(gate.Gate, "has_room", property(lambda _self: True)),
    # ── engine, clients, buffer, settle, delivery, settings ───────────────────────────────────────
    "the buffer takes one event too many": after(
        buffer.Buffer,
        "__init__",
        lambda self, *_: change(self.outbox.gate, "full_count", self.settings.max_queue + 1),
    ),
    "events that come in during a poll wait for the next": becomes(
        outbox.Outbox, "wants_poll", property(lambda _self: False)
    ),
    "the refusal of a key ends the events of one client alone": around(
        Clients, "fail_waiting", _first_only
    ),
    "a waiter for a ticket is not woken": around(
        Waiters,
        "take",
        lambda original, self, output: original(self, msgspec.structs.replace(output, tickets=[])),
    ),
    "waiters share their error": becomes(MasivoError, "copy", lambda self: self),
    "unclaimed failures pass in silence": becomes(Failed, "unclaimed", lambda _self: 0),
    "a claimed failure is reported all the same": becomes(Delivery, "claim", Delivery.peek),
    "MASIVO_DISABLED=0 disables": becomes(settings, "is_set", bool),
    # ── token ─────────────────────────────────────────────────────────────────────────────────────
    "an expired token is used": becomes(life.Token, "expired", lambda _self, _now: False),
    "a 401 to an old token throws the new one away": around(
        authorizer.Authorizer,
        "reject",
        lambda original, self, _token: original(self, self._token.value),
    ),
    "a key does not rest though none of its tokens is taken": around(
        outbox.Outbox, "_unauthorized", _second_401_ends_its_batch
    ),
    "a token that replaced another before the first 401 counts as fresh": before(
        outbox.Outbox,
        "_unauthorized",
        lambda _self, of, _error: change(
            of, "unauthorized", None if of.unauthorized is None else -1
        ),
    ),
    "a refused key rests 10 s": becomes(life, "REFUSAL_LASTS", 10.0),
    "every renewal is spread": around(
        life.Token,
        "grant",
        lambda original, *args, **_: original(*args, on_time=False),
    ),
    "a revoked token is used while it is renewed": lacks(
        life.TRANSITIONS, (State.STALE, Change.REVOKED)
    ),
    "a renewal that fails throws the token away": before(
        authorizer.Authorizer, "_renew_later", lambda self, *_: self._revoke("it failed")
    ),
    "renewals after a hold are not spread": becomes(
        authorizer.Authorizer, "_renewal_delay", lambda _self: 0.0
    ),
    # ── sending ───────────────────────────────────────────────────────────────────────────────────
    "max_retries is exceeded by one": around(
        context.Context,
        "retry",
        lambda original, self, attempt, *, retries, hurry: original(
            self, attempt, retries=retries + 1, hurry=hurry
        ),
    ),
    "the last try of a close is retried": before(
        context.Context, "retry", lambda _self, attempt: change(attempt, "last_try", False)
    ),
    "the result of an abandoned request counts": becomes(context.Context, "forget", nothing),
    "a shorter Retry-After replaces a longer one": before(backoff.Backoff, "hold", _hold_shrinks),
    "each request that fails counts, though they were out together": before(
        backoff.Backoff,
        "failed",
        lambda self, attempt, *_: change(attempt, "failures", self.failures),
    ),
    "a success does not end the waits": becomes(backoff.Backoff, "succeeded", nothing),
    "a timer fires a moment late": around(
        timers.Timers, "due", lambda original, self, now: original(self, math.nextafter(now, 0.0))
    ),
    "authorizations alone tell the time": around(
        context.Context, "returned", _batches_tell_no_time
    ),
    "a machine that slept is not noticed": around(
        server_clock.ServerClock,
        "offset",
        lambda original, self, now: original(self, now) if self._offset is None else self._offset,
    ),
    "a retry keeps the stamps of before the sleep": becomes(
        issued_at.Stamper, "renew", lambda *_: False
    ),
    "new stamps go under the old key": around(issued_at.Stamper, "renew", _same_key),
    "an event fails for a stamp of ours": becomes(
        outbox.Outbox, "_stamped_wrong", lambda *_: False
    ),
    "stamps of the future are followed by others": before(
        issued_at.Stamper,
        "stamped",
        lambda self, *_: change(self, "_set_back", self._clock.set_back),
    ),
    "half a minute is a sleep": becomes(server_clock, "DOUBT", 20.0),
    # ── reporting ─────────────────────────────────────────────────────────────────────────────────
    "an echoed token is shown": around(
        context.Context, "secrets", lambda original, *args: original(*args)[:1]
    ),
    "a transport's exception keeps its secrets": becomes(
        context, "stripped", lambda error, _secrets: error
    ),
    "every loss is a warning of its own": becomes(losses, "INTERVAL", 0.0),
    "one event too few is reported": around(
        reports,
        "EventsFailed",
        lambda original, at, events, *args: original(at, events - 1, *args),
    ),
    "a client is told what concerns another": around(
        context.Context,
        "report",
        lambda original, self, activity, _client=None: original(self, activity),
    ),
    "a client is not told what concerns the key": around(
        context.Context,
        "report",
        lambda original, self, activity, client=0: original(self, activity, client),
    ),
    "the expected is logged at INFO": becomes(lines, "DEBUG", lines.INFO),
}
"""Each by the name of what is wrong then, room by room."""


def hunt(name: str) -> str | None:
    """Return a seed that finds a defect, and what it says; None if none does.

    Raises:
        RuntimeError: the defect does not fit the core.
    """
    return SIMULATOR.hunt(DEFECTS[name], (LATE.get(name, 0), *range(SEEDS)))


if __name__ == "__main__":
    sys.exit(hunt_all(hunt, DEFECTS))
