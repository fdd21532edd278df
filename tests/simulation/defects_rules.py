"""Defects in rules, constants and tables: waits, tokens, errors, events, settings, the log."""

from __future__ import annotations

from typing import Final

from .patched import Defect

__all__ = ["RULES"]

RULES: Final[tuple[Defect, ...]] = (
    # ── causes.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "a transport's exception keeps its texts",
        "causes.py",
        "value = redacted(value, secrets)",
        "value = str(value)",
    ),
    Defect(
        "what an exception came from keeps its secrets",
        "causes.py",
        "todo += [each.__cause__, each.__context__]",
        "todo += [each.__cause__]",
    ),
    # ── delivery.py ──────────────────────────────────────────────────────────────────────────
    Defect(
        "failures that nobody asked for pass in silence",
        "delivery.py",
        "        count, self.asked = self.count - self.asked, self.count\n        return count\n",
        "        return 0\n",
    ),
    Defect(
        "what was asked for is logged all the same",
        "delivery.py",
        "            outcome.asked += 1\n",
        "",
    ),
    Defect(
        "waiters share their error",
        "delivery.py",
        "        raise outcome.error.copy()\n",
        "        raise outcome.error\n",
    ),
    # ── errors.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "the message counts for more than the error",
        "errors.py",
        'for said in (value.get("error"), value.get("message")):',
        'for said in (value.get("message"), value.get("error")):',
    ),
    Defect(
        "details fall back to nothing",
        "errors.py",
        "            return text, value if details is None else details\n",
        "            return text, details\n",
    ),
    Defect(
        "a rate limit is told as another thing",
        "errors.py",
        '    429: "the API\'s rate limit is exhausted",\n',
        "",
    ),
    Defect(
        "a copy loses the status",
        "errors.py",
        "error = type(self)(self.message, status=self.status, details=self.details)",
        "error = type(self)(self.message, details=self.details)",
    ),
    # ── events.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "an explicit None gets the default brand",
        "events.py",
        'brand_id = event.get("brand_id", _MISSING)',
        'brand_id = event.get("brand_id") or _MISSING',
    ),
    Defect(
        "the default brand without a platform",
        "events.py",
        'if default_brand is None or event.get("platform") is None:',
        "if default_brand is None:",
    ),
    Defect(
        "naive datetimes pass",
        "events.py",
        "if value.utcoffset() is None:",
        "if False:",
    ),
    Defect(
        "the path of a list's item is lost",
        "events.py",
        '_convert(item, f"{path}[{index}]", above)',
        "_convert(item, path, above)",
    ),
    Defect(
        "a stamp is not counted",
        "events.py",
        "STAMP_SIZE: Final = len(_OPEN) + STAMP_LENGTH + len(_NEXT)",
        "STAMP_SIZE: Final = len(_OPEN) + len(_NEXT)",
    ),
    # ── json.py ──────────────────────────────────────────────────────────────────────────────
    Defect(
        "a Decimal is sent as a string",
        "json.py",
        'decimal_format="number"',
        'decimal_format="string"',
    ),
    Defect(
        "an empty body is no JSON",
        "json.py",
        "        return None\n    try:",
        "        return NOT_JSON\n    try:",
    ),
    # ── log.py ───────────────────────────────────────────────────────────────────────────────
    Defect(
        "warnings come twice as often",
        "log.py",
        "INTERVAL: Final = 5.0",
        "INTERVAL: Final = 2.5",
    ),
    Defect(
        "what was held back is not counted",
        "log.py",
        "self._held[cause] = self._held.get(cause, 0) + count",
        "self._held[cause] = count",
    ),
    Defect(
        "one cause for every status",
        "log.py",
        "cause = (type(error), error.status)",
        "cause = (type(error), None)",
    ),
    # ── retry.py ─────────────────────────────────────────────────────────────────────────────
    Defect(
        "501 is repeated",
        "retry.py",
        "frozenset({408, 429, 500, 502, 503, 504})",
        "frozenset({408, 429, 500, 501, 502, 503, 504})",
    ),
    Defect(
        "408 is not repeated",
        "retry.py",
        "frozenset({408, 429, 500, 502, 503, 504})",
        "frozenset({429, 500, 502, 503, 504})",
    ),
    Defect(
        "413 blames no event",
        "retry.py",
        "frozenset({400, 413, 422})",
        "frozenset({400, 422})",
    ),
    Defect(
        "the first wait is up to a second",
        "retry.py",
        "FIRST_WAIT: Final = 0.5",
        "FIRST_WAIT: Final = 1.0",
    ),
    Defect(
        "waits double up to a minute",
        "retry.py",
        "LONGEST_WAIT: Final = 30.0",
        "LONGEST_WAIT: Final = 60.0",
    ),
    Defect(
        "a Retry-After of more than a minute is too long",
        "retry.py",
        "LONGEST_HOLD: Final = 300.0",
        "LONGEST_HOLD: Final = 60.0",
    ),
    Defect(
        "a Retry-After of just 300 s is too long",
        "retry.py",
        "if wait <= LONGEST_HOLD:",
        "if wait < LONGEST_HOLD:",
    ),
    Defect(
        "requests that were out together count each",
        "retry.py",
        "self.failures = max(self.failures, known + 1)",
        "self.failures += 1",
    ),
    Defect(
        "a shorter Retry-After takes the place of a longer one",
        "retry.py",
        "self.hold_until = max(self.hold_until, now + wait)",
        "self.hold_until = now + wait",
    ),
    Defect(
        "a success does not end the waits",
        "retry.py",
        "        self.failures = 0\n\n    def wait",
        "        self.failures //= 2\n\n    def wait",
    ),
    # ── settings.py ──────────────────────────────────────────────────────────────────────────
    Defect(
        "another default of max_wait",
        "settings.py",
        "max_wait: float = 60.0,",
        "max_wait: float = 30.0,",
    ),
    Defect(
        "a reserved type is sendable",
        "settings.py",
        '{"PURCHASE", "ABANDONED_CART", "BIRTHDAY", "REGISTRATION", "TIER_ADJUSTMENT"}',
        '{"PURCHASE", "ABANDONED_CART", "REGISTRATION", "TIER_ADJUSTMENT"}',
    ),
    Defect(
        "plain http to anywhere",
        "settings.py",
        'if match["scheme"] == "http" and not is_loopback(url):',
        'if match["scheme"] == "https" and is_loopback(url):',
    ),
    Defect(
        "a 403 never says that it is a SERVER key",
        "settings.py",
        "if status not in (400, 401, 403)",
        "if status not in (400, 401)",
    ),
    # ── stamps.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "a stamp may lie a second in the future",
        "stamps.py",
        "lower, upper = seconds - now, seconds + 1.0 - sent_at",
        "lower, upper = seconds + 1.0 - now, seconds + 1.0 - sent_at",
    ),
    Defect(
        "the earliest Date counts",
        "stamps.py",
        "if self._offset is None or lower > self._offset or upper < self._offset:",
        "if self._offset is None or lower < self._offset or upper < self._offset:",
    ),
    Defect(
        "no margin where no Date was seen",
        "stamps.py",
        "WALL_CLOCK_MARGIN: Final = 2.0",
        "WALL_CLOCK_MARGIN: Final = 0.0",
    ),
    Defect(
        "a Retry-After date is read by our own clock",
        "stamps.py",
        "return date - (self._wall_clock() if server_now is None else server_now)",
        "return date - self._wall_clock()",
    ),
    # ── token.py ─────────────────────────────────────────────────────────────────────────────
    Defect(
        "a refusal lasts ten seconds",
        "token.py",
        "REFUSAL_LASTS: Final = 30.0",
        "REFUSAL_LASTS: Final = 10.0",
    ),
    Defect(
        "a token is renewed one minute before its expiry",
        "token.py",
        "EXPIRY_MARGIN: Final = 300.0",
        "EXPIRY_MARGIN: Final = 60.0",
    ),
    Defect(
        "a third of a token's life is left unused",
        "token.py",
        "EXPIRY_SHARE: Final = 0.1",
        "EXPIRY_SHARE: Final = 0.3",
    ),
    Defect(
        "every renewal is spread",
        "token.py",
        "self._part = 1.0 if on_time else EARLIEST_SPREAD",
        "self._part = EARLIEST_SPREAD",
    ),
    Defect(
        "a renewal that comes due is forgotten",
        "token.py",
        "    (State.FRESH, Change.DUE): State.STALE,\n",
        "",
    ),
    Defect(
        "a revoked token survives while it is renewed",
        "token.py",
        "    (State.STALE, Change.REVOKED): State.FETCHING,\n",
        "",
    ),
    Defect(
        "a blank in a token passes",
        "token.py",
        "isinstance(token, str) and is_header_value(token)",
        "isinstance(token, str)",
    ),
)
