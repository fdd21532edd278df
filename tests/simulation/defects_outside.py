"""Defects of the kind that a stranger would try: an entry of a table, a constant, a conversion."""

from __future__ import annotations

from typing import Final

from .patched import Defect

__all__ = ["OUTSIDE"]

OUTSIDE: Final[tuple[Defect, ...]] = (
    # ── retry.py ─────────────────────────────────────────────────────────────────────────────
    Defect("504 is not repeated", "retry.py", "502, 503, 504}", "502, 503}"),
    Defect("422 blames no event", "retry.py", "{400, 413, 422}", "{400, 413}"),
    Defect(
        "waits are half random only",
        "retry.py",
        "return random.random() * min(",
        "return (0.5 + 0.5 * random.random()) * min(",
    ),
    Defect(
        "a Retry-After between blanks is not read",
        "retry.py",
        'headers.get("retry-after", "").strip()',
        'headers.get("retry-after", "")',
    ),
    Defect(
        "a Retry-After in the past holds back",
        "retry.py",
        "max(0.0, clock.seconds_until(",
        "abs(clock.seconds_until(",
    ),
    Defect(
        "the wait grows by half, not twice",
        "retry.py",
        "FIRST_WAIT * 2.0 **",
        "FIRST_WAIT * 1.5 **",
    ),
    # ── stamps.py ────────────────────────────────────────────────────────────────────────────
    Defect("two months change places", "stamps.py", '"Apr", "May", "Jun"', '"Apr", "Jun", "May"'),
    Defect(
        "years of two digits are of the last century",
        "stamps.py",
        "2000 if year < 70 else 1900",
        "2000 if year < 20 else 1900",
    ),
    Defect(
        "the third form of a date is not read",
        "stamps.py",
        " or re.fullmatch(_ASCTIME, text)",
        "",
    ),
    Defect(
        "thousandths are tenths",
        "stamps.py",
        "{thousandths:03d}",
        "{thousandths // 100:03d}",
    ),
    Defect(
        "a leap second is no time",
        "stamps.py",
        'min(int(match["s"]), 59)',
        'int(match["s"])',
    ),
    # ── token.py ─────────────────────────────────────────────────────────────────────────────
    Defect(
        "an expired token is used for a second more",
        "token.py",
        "now >= self._expires_at",
        "now >= self._expires_at + 1.0",
    ),
    Defect(
        "when a token was issued does not count",
        "token.py",
        "now = float(issued) if isinstance(issued, int | float) else wall_time",
        "now = wall_time",
    ),
    Defect(
        "after a failure nothing is tried again",
        "token.py",
        "    (State.FETCHING, Change.FAILED): State.ABSENT,\n",
        "",
    ),
    Defect(
        "the first renewal is not early",
        "token.py",
        "EARLIEST_SPREAD: Final = 0.1",
        "EARLIEST_SPREAD: Final = 0.5",
    ),
    # ── errors.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "413 is told as another thing",
        "errors.py",
        '413: "the API refused the request as too large"',
        '413: "the API refused the request as invalid"',
    ),
    Defect(
        "messages of any length", "errors.py", "_MESSAGE_LIMIT = 500", "_MESSAGE_LIMIT = 50_000"
    ),
    Defect(
        "a 422 to an authorization names no cure",
        "errors.py",
        "if status in (400, 401, 403, 422)",
        "if status in (400, 401, 403)",
    ),
    Defect(
        "a wrong kind of key is no failed authorization",
        "errors.py",
        "class MasivoServerKeyError(MasivoAuthError):",
        "class MasivoServerKeyError(MasivoError):",
    ),
    # ── settings.py ──────────────────────────────────────────────────────────────────────────
    Defect(
        "one repeat more by default",
        "settings.py",
        "    max_retries: int = 4,\n",
        "    max_retries: int = 5,\n",
    ),
    Defect("a cart is sendable", "settings.py", '{"PURCHASE", "ABANDONED_CART", ', '{"PURCHASE", '),
    Defect(
        "a client that is said not to be disabled is",
        "settings.py",
        '("", "0", "false", "no", "off")',
        '("", "false", "no", "off")',
    ),
    Defect(
        "the longest wait is three years",
        "settings.py",
        "LONGEST: Final = 1e9",
        "LONGEST: Final = 1e8",
    ),
    # ── log.py ───────────────────────────────────────────────────────────────────────────────
    Defect(
        "a closed client is logged as a refusal",
        "log.py",
        '    MasivoClosedError: "the client was closed or destroyed first",\n',
        "",
    ),
    Defect(
        "the log does not name the status",
        "log.py",
        'answer = "" if status is None else f" (HTTP {status})"',
        'answer = ""',
    ),
    # ── delivery.py ──────────────────────────────────────────────────────────────────────────
    Defect(
        "a loss is told again and again",
        "delivery.py",
        "self.count - self.asked, self.count\n",
        "self.count - self.asked, self.asked\n",
    ),
    Defect(
        "a failure keeps its client alive",
        "delivery.py",
        "self.buffer, self.outcome = None, outcome",
        "self.outcome = outcome",
    ),
    # ── values.py ────────────────────────────────────────────────────────────────────────────
    Defect("answers may be half as long", "values.py", "1 << 20", "1 << 19"),
    Defect(
        "a request can be pickled, with the secrets",
        "values.py",
        "    def __reduce__(self) -> str:\n        raise TypeError("
        '"a request is not pickled: its headers hold secrets")\n',
        "",
    ),
    # ── queues.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "commas are not counted",
        "queues.py",
        "self.ready_bytes += length + len(deliveries)",
        "self.ready_bytes += length",
    ),
    Defect(
        "a customer comes never free",
        "queues.py",
        "            self._busy.discard(customer)\n",
        "",
    ),
    Defect(
        "the oldest event is a number too old",
        "queues.py",
        "self._waiting[0].at, self.arrived - len(self._waiting)",
        "self._waiting[0].at, self.arrived - len(self._waiting) + 1",
    ),
    Defect(
        "the newest customer goes first",
        "queues.py",
        "heappush(self._free, (self.arrived, customer))",
        "heappush(self._free, (-self.arrived, customer))",
    ),
    # ── tally.py ─────────────────────────────────────────────────────────────────────────────
    Defect(
        "a flush that was given up tells all the same",
        "tally.py",
        "            self._flushes.remove(ticket)\n",
        "            pass\n",
    ),
    Defect(
        "what failed is told as delivered",
        "tally.py",
        "                ticket.failed += ended\n",
        "                ticket.delivered += ended\n",
    ),
    # ── timers.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "a timer is lost when the heap is made anew",
        "timers.py",
        "enumerate(self._at.items())]",
        "enumerate(list(self._at.items())[1:])]",
    ),
    Defect(
        "timers that fire together: the last one only",
        "timers.py",
        "            fired.append(slot)\n",
        "            fired = [slot]\n",
    ),
    # ── events.py ────────────────────────────────────────────────────────────────────────────
    Defect("a UUID loses its dashes", "events.py", "return str(value)\n", "return value.hex\n"),
    Defect(
        "an Enum is sent by its name",
        "events.py",
        'return _convert(cast("object", value.value), path, above)',
        "return _convert(value.name, path, above)",
    ),
    Defect(
        "the same object twice is a cycle",
        "events.py",
        "    above.pop()\n",
        "",
    ),
    Defect(
        "a Decimal that is no number passes",
        "events.py",
        "if not value.is_finite():",
        "if value.is_infinite():",
    ),
    # ── journal.py ───────────────────────────────────────────────────────────────────────────
    Defect(
        "what is as it should be is told at INFO",
        "journal.py",
        "            self._add(DEBUG, text)\n",
        "            self._add(INFO, text)\n",
    ),
    Defect(
        "a note counts one event too few",
        "journal.py",
        'f"{_events(count)} failed:',
        'f"{_events(count - 1)} failed:',
    ),
    Defect(
        "notes are told to who reads warnings alone",
        "engine.py",
        "        if level > INFO:\n",
        "        if level > INFO + 10:\n",
    ),
    # ── redaction.py ─────────────────────────────────────────────────────────────────────────
    Defect(
        "an echo behind escapes is not looked for",
        "redaction.py",
        'if b"\\\\" not in body and not any(',
        "if not any(",
    ),
    Defect(
        "secrets in lists are shown",
        "redaction.py",
        "return [_redacted_value(item, secrets) for item in value]",
        "return value",
    ),
    Defect(
        "short tokens are looked for inside of words",
        "redaction.py",
        "_SHORT: Final = 8",
        "_SHORT: Final = 2",
    ),
    # ── causes.py, flight.py, json.py, buffer.py, outbox.py, core.py, authorizer.py ────────
    Defect("tracebacks are kept", "causes.py", "            each.__traceback__ = None\n", ""),
    Defect(
        "halves are thirds",
        "flight.py",
        "len(self.deliveries) // 2",
        "-(-len(self.deliveries) // 3)",
    ),
    Defect(
        "the halves share an Idempotency-Key",
        "flight.py",
        "self.events[middle:]),",
        "self.events[middle:], self.key),",
    ),
    Defect(
        "one full buffer is told for ever",
        "outbox.py",
        "        self._overflow = None\n",
        "        pass\n",
    ),
    Defect(
        "an exact number is rounded",
        "json.py",
        'decimal_format="number"',
        'decimal_format="string"',
    ),
    Defect(
        "the second close is never answered",
        "outbox.py",
        "for ticket in self._closes:",
        "for ticket in self._closes[:1]:",
    ),
    Defect("no User-Agent", "core.py", 'f"masivo-python/{__version__}"', '"python"'),
    Defect(
        "an authorization names no SDK",
        "authorizer.py",
        "if api.sdk_header is not None:",
        "if api.sdk_header is None:",
    ),
)
