"""Faults of the emulator on demand, and the requests to which they apply."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, Self

import h11

from masivo.emulator.responses import HTML_PAGE, TYPE_HTML

# The shortest JSON document for `Fault.size`.
MIN_SIZE = 2

_SHOWN_BYTES = 40


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Fault:
    """One fault; the fields combine where that makes sense.

    With `status`, `body`, `raw` or `close` set, or with a `reset` other than "after_processing",
    the API does not process the request (no event is accepted, no token issued) unless `process` is
    set. With other fields alone, the API processes the request, and only the response is affected.

    Raises:
        ValueError: a combination that cannot be carried out.
    """

    status: int | None = None
    """Status of the response, 200 to 999; None: the API's own status, or 200 if the API did not
    process the request."""
    body: bytes | str | Mapping[str, object] | Sequence[object] | None = None
    """Body of the response; encoded as JSON unless it is bytes or text. None: the API's own, or a
    JSON document that fits the status."""
    headers: Mapping[str, str | None] | None = None
    """Headers to add or replace; None as a value removes the header. Without Content-Length the
    response is chunked."""
    delay: float = 0.0
    """Seconds before the response begins, after the request was processed."""
    delay_body: float = 0.0
    """Seconds between the first half of the body (with the headers) and the second."""
    drip: float = 0.0
    """Seconds after each single byte of the response, headers included."""
    reset: Literal["before_reading", "after_reading", "after_processing"] | None = None
    """Reset the connection (TCP RST) instead of responding: after the headers of the request were
    read, after the whole request was read, or after the API processed it (its response is lost)."""
    truncate: int | None = None
    """Close the connection after this many bytes of the body."""
    truncate_headers: int | None = None
    """Close the connection after this many bytes of the status line and the headers."""
    raw: bytes | None = None
    """Send exactly these bytes instead of a response, then close the connection."""
    endless: bool = False
    """Send a body that does not end until the client disconnects."""
    size: int | None = None
    """Send a JSON body of exactly this many bytes."""
    content_length: int | None = None
    """Send this Content-Length whatever the body's length, then close the connection."""
    close: bool = False
    """Close the connection without a response."""
    process: bool = False
    """Let the API process the request although the API's response is not used."""

    def __post_init__(self) -> None:
        for name in ("delay", "delay_body", "drip", "truncate", "truncate_headers"):
            amount = getattr(self, name)
            if amount is not None and not amount >= 0:
                raise ValueError(f"{name} must not be negative")
        if self.size is not None and self.size < MIN_SIZE:
            raise ValueError(f"size must be at least {MIN_SIZE}")
        if self.reset not in (None, "before_reading", "after_reading", "after_processing"):
            raise ValueError(
                f"there is no reset {self.reset!r}: use 'before_reading', 'after_reading' or "
                "'after_processing'"
            )
        self._check_one_response()
        self._check_headers()

    def _check_one_response(self) -> None:
        shapes = {
            "reset": self.reset is not None,
            "close": self.close,
            "raw": self.raw is not None,
            "endless": self.endless,
            "size": self.size is not None,
        }
        chosen = [name for name, is_set in shapes.items() if is_set]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} cannot be combined")
        if self.endless and self.truncate is not None:
            raise ValueError("endless and truncate cannot be combined")
        if self.reset in ("before_reading", "after_reading") and self.process:
            raise ValueError(f"process and reset={self.reset!r} cannot be combined")

    def _check_headers(self) -> None:
        headers = [
            (name, value) for name, value in (self.headers or {}).items() if value is not None
        ]
        if self.content_length is not None:
            headers.append(("Content-Length", str(self.content_length)))
        status = 200 if self.status is None else self.status
        try:
            h11.Response(status_code=status, headers=headers)
        except h11.LocalProtocolError as error:
            raise ValueError(f"no HTTP response can carry this ({error}); use raw") from error

    @property
    def processes(self) -> bool:
        """True if the API processes the request."""
        if self.process or self.reset == "after_processing":
            return True
        replaced = (self.status, self.body, self.raw, self.reset)
        return all(part is None for part in replaced) and not self.close

    @classmethod
    def html(cls, status: int = 200) -> Self:
        """An HTML page, as a wrong host or a captive portal sends it."""
        return cls(status=status, body=HTML_PAGE, headers={"Content-Type": TYPE_HTML})

    @classmethod
    def garbage(cls) -> Self:
        """Bytes that are not HTTP."""
        return cls(raw=b"\x00\xffthis is not HTTP\r\n\r\n\xfe\x00")

    @classmethod
    def unavailable(cls, retry_after: float | None = None) -> Self:
        """Status 503; `retry_after` in seconds."""
        return cls(status=503, headers=_retry_after(retry_after))

    @classmethod
    def rate_limited(cls, retry_after: float | None = None) -> Self:
        """Status 429; `retry_after` in seconds."""
        return cls(status=429, headers=_retry_after(retry_after))

    @classmethod
    def lost_response(cls) -> Self:
        """The API accepts the request, then resets the connection."""
        return cls(reset="after_processing")

    def __repr__(self) -> str:
        parts: list[str] = []
        for field in fields(self):
            value: object = getattr(self, field.name)
            if value != field.default:
                text = repr(value)
                if isinstance(value, bytes | str) and len(value) > _SHOWN_BYTES:
                    text = f"<{len(value)} {'bytes' if isinstance(value, bytes) else 'characters'}>"
                parts.append(f"{field.name}={text}")
        return f"Fault({', '.join(parts)})"


def _retry_after(seconds: float | None) -> dict[str, str | None] | None:
    return None if seconds is None else {"Retry-After": f"{seconds:g}"}


@dataclass(slots=True)
class _Rule:
    fault: Fault
    # None: any route.
    route: str | None
    # The request numbers that it still applies to; None: any number.
    numbers: set[int] | None
    # How many more requests it applies to; None: all, or all in `numbers`.
    left: int | None

    def takes(self, route: str, number: int, nth: int) -> bool:
        if self.route is not None and self.route != route:
            return False
        if self.numbers is None:
            return True
        return self.counted(number, nth) in self.numbers

    def counted(self, number: int, nth: int) -> int:
        """Return the one of a request's two numbers that this rule uses."""
        return number if self.route is None else nth

    def use(self, number: int, nth: int) -> bool:
        """Count one request; return whether the rule still applies to others."""
        if self.numbers is not None:
            self.numbers.discard(self.counted(number, nth))
            return bool(self.numbers)
        if self.left is None:
            return True
        self.left -= 1
        return self.left > 0


class FaultPlan:
    """The queued faults. Not thread-safe: the caller holds a lock."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(
        self,
        fault: Fault,
        *,
        route: str | None,
        number: int | Iterable[int] | None,
        times: int | None,
    ) -> None:
        """Queue a fault; see `Emulator.fail`."""
        if times is not None and not (isinstance(times, int) and times >= 1):
            raise ValueError(f"times must be 1 or more, or None for every request, not {times!r}")
        if number is None:
            self._rules.append(_Rule(fault, route, None, times))
            return
        numbers = {number} if isinstance(number, int) else set(number)
        if not numbers or min(numbers) < 1:
            raise ValueError("number must be one or more numbers, from 1")
        self._rules.append(_Rule(fault, route, numbers, None))

    def take(self, route: str, number: int, nth: int) -> Fault | None:
        """Return a request's fault, or None, and count it as used.

        `number` counts over all routes, `nth` over the request's own. A fault for exactly this
        number takes precedence; otherwise the one that was queued first applies.
        """
        fitting = [rule for rule in self._rules if rule.takes(route, number, nth)]
        if not fitting:
            return None
        chosen = min(fitting, key=lambda rule: rule.numbers is None)
        if not chosen.use(number, nth):
            self._rules.remove(chosen)
        return chosen.fault

    def clear(self) -> None:
        """Forget every fault."""
        self._rules.clear()
