"""Survivors that no test should kill, each with the reason. They count as survivors.

Nothing tells most of them from the core. What else is here says so: a matter of speed or memory
alone, or a choice that could as well have been another.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EQUIVALENT"]

_BY_REASON: Final[dict[str, list[tuple[str, str]]]] = {
    "type checkers alone read it": [
        ("delivery.py", "T: 'T': another text"),
        ("delivery.py", "T_co: 'T_co': another text"),
        ("delivery.py", "T_co: True -> False"),
        ("delivery.py", "T_co: TypeVar('T_co', covariant=True): without covariant"),
        ("calls.py", "T: 'T': another text"),
        ("settings.py", "ClientOptions: False -> True"),
    ],
    "type checkers alone need it: there is no other case": [
        ("reporting/lines.py", "line: wake_at is None or timer is None: and <-> or"),
    ],
    "type checkers alone need it: None comes from nothing": [
        (
            "sending/context.py",
            (
                "Context.error_of: None if failure.cause is None else "
                "stripped(failure.cause, secrets): always the second"
            ),
        ),
    ],
    "set before it is read": [
        ("batches/own_log.py", "Own.__init__: False -> True #2"),
        ("sending/attempt.py", "Attempt.__init__: 0 + 1"),
        ("sending/attempt.py", "Attempt.__init__: 0.0 + 1"),
        ("sending/attempt.py", "Attempt.__init__: 0.0 + 1 #2"),
        ("token/life.py", "Token.__init__: 0.0 + 1 #2"),
        ("token/life.py", "Token.__init__: 0.0 + 1 #3"),
        ("token/life.py", "Token.__init__: 1.0 + 1"),
        ("sending/context.py", "Context.__init__: False -> True #2"),
        ("sending/server_clock.py", "ServerClock.__init__: 0.0 + 1"),
    ],
    "never read": [
        ("calls.py", "_inside: 'masivo_on_error': another text"),
        ("delivery.py", "NotCopied.__copy__: 0 + 1"),
        ("json.py", "_NotJson.NOT_JSON: 'not JSON': another text"),
    ],
    "no refusal is there yet, and without one the time does not count": [
        ("sending/backoff.py", "Backoff.__init__: 0.0 + 1 #2"),
        ("token/life.py", "Token.__init__: 0.0 + 1"),
    ],
    "what it lets in has been dealt with": [
        ("wire/responses.py", "_our_text: 300 <= status < 400: Lt -> LtE"),
        ("wire/responses.py", "_our_text: 400 + 1"),
        ("wire/responses.py", "read_authorization: 400 <= status < 500: Lt -> LtE"),
        ("wire/responses.py", "read_authorization: 500 + 1"),
    ],
    "what it lets in finds nothing to do": [
        ("batches/outbox.py", "Outbox.step: if self.released: never"),
        ("sending/context.py", "Context.__init__: False -> True"),
    ],
    "the other of two guards suffices: a client that is gone does not count, and is removed": [
        (
            "clients.py",
            (
                "Clients.outboxes: without the if in for outbox in list(self._buffers) "
                "if not outbox.released"
            ),
        ),
    ],
    "what is equal is set to itself": [
        ("sending/server_clock.py", "ServerClock.observe: bound > self._offset: Gt -> GtE"),
    ],
    "any whole number of seconds before it will do": [
        ("batches/issued_at.py", "Stamper.stamped: 1.0 + 1"),
    ],
    "an earlier removal waits in any case, and this one behind it": [
        ("batches/upkeep.py", "Upkeep._stored_again: False -> True"),
    ],
    "the order alone counts, not where it begins, nor how far apart": [
        ("sending/timers.py", "Timers.__init__: 0 + 1"),
        ("sending/timers.py", "Timers.set: 1 + 1"),
    ],
    "the one is what is looked for no more than the other": [
        ("settings.py", "is_loopback: '': another text"),
        ("wire/api.py", "_says_server: '': another text"),
        ("wire/responses.py", "retry_after: '': another text"),
    ],
    "the numbers of requests and work need only differ": [
        ("sending/context.py", "Context.work: 1 + 1"),
    ],
    "beyond every bound": [
        ("sending/backoff.py", "full_jitter: 64 + 1"),
    ],
    "speed alone: the longer way comes to the same": [
        ("batches/own_log.py", "Own.begin: if log is not self.log: always"),
        ("batches/in_order.py", "InOrder.extend: if self._settled: always"),
        (
            "events/encoding.py",
            "check: if type(brand) is not str and brand is not None: always",
        ),
        ("events/encoding.py", "encoder: if kind_of_event is not dict: always"),
        ("events/encoding.py", "check: if type(customer) is not str or not customer: always"),
        ("events/encoding.py", "check: if type(kind) is not str or not kind: always"),
        (
            "events/encoding.py",
            "check: type(brand) is not str and brand is not None: and <-> or",
        ),
        (
            "events/encoding.py",
            "encoder: brand_id is None or type(brand_id) is str: and <-> or",
        ),
        (
            "events/encoding.py",
            (
                "encoder: if not (type(customer) is str and type(kind) is str and (brand_id is "
                "None or type(brand_id) is str) and customer and (kind not in doubtful)): always"
            ),
        ),
        ("events/plain.py", "_LARGE: 300 + 1"),
        ("events/plain.py", "_convert: exact.adjusted() > _LARGE: Gt -> GtE"),
        ("reporting/redaction.py", "redacted_body: b'\\\\': other bytes"),
        (
            "reporting/redaction.py",
            (
                "redacted_body: if b'\\\\' not in body and (not any((secret.encode() in body "
                "for secret in secrets))): never"
            ),
        ),
        ("settle.py", "Waiters.take: if self._of_deliveries: always"),
    ],
    "speed alone: more names are looked for, and the first is taken": [
        ("advice.py", "advice: 1 + 1"),
    ],
    "speed alone: this many events in a row": [
        ("engine.py", "_ROW: 128 + 1"),
    ],
    "memory alone: this many entries that are out of date": [
        ("sending/timers.py", "Timers.set: 4 * len(self._at): Mult -> Add"),
        ("sending/timers.py", "Timers.set: 4 + 1"),
        ("sending/timers.py", "Timers.set: 64 + 1"),
        ("sending/timers.py", "Timers.set: 64 + 4 * len(self._at): Add -> Sub"),
        ("sending/timers.py", "Timers.set: if len(self._heap) > 64 + 4 * len(self._at): always"),
        ("sending/timers.py", "Timers.set: len(self._heap) > 64 + 4 * len(self._at): Gt -> GtE"),
    ],
    "memory alone: how long a list of numbers becomes before it is summed up": [
        ("tally.py", "Tally.is_long: 1000 + 1"),
        ("tally.py", "Tally.is_long: len(self._parts) > 1000: Gt -> GtE"),
    ],
    "memory alone: how much is read at once": [
        ("wire/bodies.py", "read_body: 1 + 1"),
    ],
    "memory alone: entries that are out of date are skipped": [
        ("sending/timers.py", "Timers.clear: without self._heap.clear()"),
    ],
    "the tool imports it before it can be changed: `test_the_version_is_one` reads it": [
        ("__init__.py", "__version__: '0.1.0': another text"),
    ],
    "a choice: a difference of exactly a minute could be either": [
        (
            "sending/server_clock.py",
            "ServerClock.observe: before - self._offset > DOUBT: Gt -> GtE",
        ),
    ],
    "a choice: of two that are equal either could be named": [
        ("sending/backoff.py", "Backoff.hold: now + wait > self.long_hold_until: Gt -> GtE"),
        ("sending/context.py", "Context.retry: hold > attempt.not_before: Gt -> GtE"),
    ],
}

EQUIVALENT: Final[dict[tuple[str, str], str]] = {
    mutant: reason for reason, mutants in _BY_REASON.items() for mutant in mutants
}
"""By file and name of the mutant. ``mutants.py`` reports one that is killed, or is no more."""
