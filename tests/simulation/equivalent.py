"""Survivors that no test should kill, each with the reason. They count as survivors.

Nothing tells most of them from the core. What else is here says so: a matter of speed or memory
alone, or a choice that could as well have been another.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EQUIVALENT"]

_BY_REASON: Final[dict[str, list[tuple[str, str]]]] = {
    # ── Nothing can tell them from the core ──────────────────────────────────────────────────
    "type checkers alone read it": [
        ("core.py", "_Input: 'Delivery | Callable[[], None]': another text"),
        ("delivery.py", "T: 'T': another text"),
        ("delivery.py", "T_co: 'T_co': another text"),
        ("delivery.py", "T_co: True -> False"),
        ("delivery.py", "T_co: TypeVar('T_co', covariant=True): without covariant"),
        (
            "json.py",
            "Json: 'bool | int | float | str | list[Json] | dict[str, Json] | None': another text",
        ),
    ],
    "type checkers alone need it: there is no other case": [
        ("core.py", "Core.answered: if isinstance(attempt, Flight): always"),
        ("core.py", "Core.broken: if isinstance(attempt, Flight): always"),
        ("journal.py", "Journal.rests: timer is None or wake_at is None: and <-> or"),
        ("outbox.py", "Outbox._due: if oldest is None: never"),
        ("queues.py", "PerCustomer._append: '': another text"),
    ],
    "type checkers alone need it: None comes from nothing": [
        (
            "core.py",
            (
                "Core.broken: None if failure.cause is None else stripped(failure.cause, secrets): "
                "always the second"
            ),
        ),
        (
            "journal.py",
            (
                "Journal.broken: [] if error is None else [type(each).__name__ for each in "
                "chain(error)]: always the second"
            ),
        ),
    ],
    "set before it is read": [
        ("flight.py", "Attempt.__init__: 0 + 1"),
        ("flight.py", "Attempt.__init__: 0.0 + 1"),
        ("flight.py", "Attempt.__init__: 0.0 + 1 #2"),
        ("flight.py", "Flight.__init__: '': another text"),
        ("outbox.py", "Outbox.__init__: '': another text"),
        ("outbox.py", "Outbox._stamped: b'': other bytes"),
        ("tally.py", "FlushTicket.__init__: 0 + 1"),
        ("tally.py", "FlushTicket.__init__: 0 + 1 #2"),
        ("tally.py", "FlushTicket.__init__: 0 + 1 #5"),
        ("tally.py", "FlushTicket.__init__: 0 + 1 #6"),
        ("token.py", "Token.__init__: 0.0 + 1 #2"),
        ("token.py", "Token.__init__: 0.0 + 1 #3"),
        ("token.py", "Token.__init__: 1.0 + 1"),
    ],
    "never read": [
        ("buffer.py", "Buffer.close: '': another text"),  # of a close without a deadline
        ("core.py", "empty_output: False -> True"),  # ``poll`` says it anew
        ("json.py", "_NotJson.NOT_JSON: 'not JSON': another text"),
    ],
    "no refusal is there yet, and without one the time does not count": [
        ("retry.py", "Backoff.__init__: 0.0 + 1 #2"),
        ("token.py", "Token.__init__: 0.0 + 1"),
    ],
    "what it lets in has been dealt with": [
        # 400 has a text in the table, 500 asks for a repeat; what was accepted was not refused.
        ("authorizer.py", "Authorizer.answered: 400 <= status < 500: Lt -> LtE"),
        ("authorizer.py", "Authorizer.answered: 500 + 1"),
        ("errors.py", "_our_text: 300 <= status < 400: Lt -> LtE"),
        ("errors.py", "_our_text: 400 + 1"),
        ("outbox.py", "Outbox.part_delivered: False -> True"),
    ],
    "what it lets in finds nothing to do": [
        # A definitive failure has no repeat, no wait, and resets what it counts; what is no flush
        # is not among the flushes; a client that is gone holds nothing.
        ("authorizer.py", "Authorizer.failed: if not definitive: always"),
        ("outbox.py", "Outbox._cancel: if isinstance(ticket, FlushTicket): always"),
        ("outbox.py", "Outbox.step: if self.detached: never"),
    ],
    "the condition of the loop ends it as well": [
        ("queues.py", "PerCustomer.take: break -> continue"),
        ("queues.py", "PerCustomer.take: break -> continue #2"),
        ("queues.py", "PerCustomer.take: len(taken) < count: Lt -> LtE"),
    ],
    "what is equal is set to itself": [
        ("outbox.py", "Outbox._stamped: at > moment: Gt -> GtE"),
        ("stamps.py", "ServerClock.observe: lower > self._offset: Gt -> GtE"),
    ],
    "the other threshold wakes the driver at the first event": [
        ("buffer.py", "Buffer.__init__: 0 + 1 #11"),
        ("buffer.py", "Buffer.__init__: 1 + 1"),
    ],
    "who sent an event has accepted one": [
        ("outbox.py", "Outbox.release: 0 + 1"),
    ],
    "the order alone counts, not where it begins, nor how far apart": [
        ("timers.py", "Timers.__init__: 0 + 1"),
        ("timers.py", "Timers.set: 1 + 1"),
    ],
    "the one is what is looked for no more than the other": [
        ("retry.py", "retry_after: '': another text"),
        ("settings.py", "_says_server: '': another text"),
        ("settings.py", "is_loopback: '': another text"),
    ],
    "beyond every bound": [
        ("retry.py", "full_jitter: 64 + 1"),
    ],
    # ── A matter of speed or memory alone ────────────────────────────────────────────────────
    "speed alone: the longer way comes to the same": [
        ("events.py", "_is_finite: if kind is list or kind is tuple: always"),
        ("events.py", "encoder: if type(brand_id) is not str and brand_id is not None: always"),
        ("events.py", "encoder: if type(customer) is not str or not customer: always"),
        ("events.py", "encoder: if type(kind) is not str or not kind: always"),
        ("events.py", "encoder: len(encoded) > limit - STAMP_SIZE: Gt -> GtE"),
        ("events.py", "encoder: type(brand_id) is not str and brand_id is not None: and <-> or"),
        (
            "outbox.py",
            (
                "Outbox.__init__: PerCustomer(settings.batch_size) if several else Fifo(): "
                "always the first"
            ),
        ),
        ("outbox.py", "Outbox.__init__: settings.max_in_flight > 1: Gt -> GtE"),
        (
            "queues.py",
            (
                "Fifo.take: total_size(taken) + len(taken) if waiting else self.ready_bytes: "
                "always the first"
            ),
        ),
        ("redaction.py", "redacted_body: b'\\\\': other bytes"),
        (
            "redaction.py",
            (
                "redacted_body: if b'\\\\' not in body and (not any((secret.encode() in body for "
                "secret in secrets))): never"
            ),
        ),
        ("settle.py", "Waiters.take: if self._of_deliveries: always"),
        ("tally.py", "Tally.count: if numbers and max(numbers) >= ticket.mark: always"),
        ("tally.py", "Tally.finished: if not self._flushes: never"),
    ],
    "speed alone: a stamp is made although the last one is still the same": [
        ("outbox.py", "Outbox._stamped: (moment - whole) * 1000.0 // 1.0 + 1.0: Add -> Sub"),
        ("outbox.py", "Outbox._stamped: 1.0 + 1 #3"),
        ("outbox.py", "Outbox._stamped: 1000.0 + 1"),
        ("outbox.py", "Outbox._stamped: if moment >= until: always"),
        (
            "outbox.py",
            (
                "Outbox._stamped: whole + ((moment - whole) * 1000.0 // 1.0 + 1.0) / 1000.0: "
                "Add -> Sub"
            ),
        ),
    ],
    "speed alone: so many events in a row": [
        ("engine.py", "_ROW: 128 + 1"),
    ],
    "memory alone: so many entries that are out of date": [
        ("timers.py", "Timers.set: 4 * len(self._at): Mult -> Add"),
        ("timers.py", "Timers.set: 4 + 1"),
        ("timers.py", "Timers.set: 64 + 1"),
        ("timers.py", "Timers.set: 64 + 4 * len(self._at): Add -> Sub"),
        ("timers.py", "Timers.set: if len(self._heap) > 64 + 4 * len(self._at): always"),
        ("timers.py", "Timers.set: len(self._heap) > 64 + 4 * len(self._at): Gt -> GtE"),
    ],
    "memory alone: entries that are out of date are skipped": [
        ("queues.py", "PerCustomer._append: if free: always #2"),
        ("queues.py", "PerCustomer.clear: without self._free.clear()"),
        ("queues.py", "PerCustomer.clear: without self._long.clear()"),
        ("timers.py", "Timers.clear: without self._heap.clear()"),
    ],
    # ── A choice ─────────────────────────────────────────────────────────────────────────────
    "a choice: of two that are equal either could be named": [
        ("journal.py", "Journal.repeats: held > attempt.not_before: Gt -> GtE"),
        ("outbox.py", "Outbox._close: deadline < earlier: Lt -> LtE"),
        ("retry.py", "Backoff.hold: now + wait > self.refused_until: Gt -> GtE"),
    ],
}

EQUIVALENT: Final[dict[tuple[str, str], str]] = {
    mutant: reason for reason, mutants in _BY_REASON.items() for mutant in mutants
}
"""By file and name of the mutant. ``mutants.py`` reports one that is killed, or is no more."""
