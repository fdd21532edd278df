"""The check of a received batch, whose events stay byte for byte.

The rules for one event are the core's own (``_protocol/events/encoding``), as
``send_analytics_event`` applies them; here they are applied to JSON.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from masivo import MasivoValidationError
from masivo._protocol.events.encoding import MISSING, check, longest, too_long
from masivo._protocol.events.form import STAMP_SIZE, size
from masivo._protocol.events.plain import UNREADABLE
from masivo._protocol.wire.dates import STAMP_LENGTH, format_stamp
from masivo._protocol.wire.schema import moment_of, problem_with_age

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeGuard

    from masivo.protocol import Settings

    from .store import Event

__all__ = ["BadEventsError", "Check", "MalformedError", "TooManyError"]

MAX_EVENTS: Final = 10_000
"""The most events of a batch."""

MAX_DEPTH: Final = 500
"""The most levels of arrays and objects in an event: later readers may have less room on their
stack."""

CLOCK_ERROR: Final = 2.0
"""The estimate of the upstream's time may be this many seconds late
(``_protocol/sending/server_clock``): an event that is no further ahead may be from now."""

_ONE_LINE: Final = bytes.maketrans(b"\n\r", b"  ")

_DEEP: Final = "the event is nested too deeply"
_MAYBE_DEEP: Final = 2 * MAX_DEPTH
"""The bytes that an event with too many levels has at least."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class MalformedError(Exception):
    """A body is malformed; the message says why."""


class TooManyError(Exception):
    """A batch has too many events."""


class BadEventsError(Exception):
    """A batch holds bad events.

    Attributes:
        problems: what is wrong, for each of them, with its place.
        total: the number of events in the batch.
    """

    def __init__(self, problems: list[str], total: int) -> None:
        super().__init__(problems, total)
        self.problems: list[str] = problems
        self.total: int = total


_decode: Final = msgspec.json.Decoder().decode
_FAULTS: Final = (
    MasivoValidationError,
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
)


class Check:
    """Splits and checks bodies.

    Args:
        settings: of the client that delivers.
    """

    def __init__(self, settings: Settings) -> None:
        api = settings.account.api
        self._reserved = api.reserved_types
        self._doubtful = {*api.reserved_types, ""}
        self._stamped = api.stamp_issued_at
        self._max_age = api.max_age
        self._longest = longest(settings)
        self._key = api.events_key
        self._raws = _array_of(msgspec.Raw, api.events_key)

    def events(self, body: bytes, now: float) -> list[Event]:
        """Return the events of a body.

        Args:
            body: without its content-encoding.
            now: the upstream's time, in seconds since the epoch.

        Raises:
            MalformedError: it holds no array of events.
            TooManyError: it holds too many.
            BadEventsError: some are bad.
        """
        raws = self._split(body)
        has_lines = b"\n" in body or b"\r" in body
        reserved, doubtful, stamped = self._reserved, self._doubtful, self._stamped
        earliest, latest = self._period(now)
        limit = self._longest
        short = limit - STAMP_SIZE
        events: list[Event] = []
        problems: list[str] = []
        for place, raw in enumerate(raws):
            encoded = bytes(raw)
            try:
                event: dict[str, object] = _decode(encoded)
                kind_of_event: object = type(event)
                if kind_of_event is not dict:
                    raise MasivoValidationError("an event must be an object")
                if len(encoded) > _MAYBE_DEEP and _is_deep(encoded, event):
                    raise MasivoValidationError(_DEEP)
                kind, customer = event.get("type"), event.get("customer_id")
                brand, at = event.get("brand_id", MISSING), event.get("issued_at", MISSING)
                if not (
                    type(customer) is str
                    and type(kind) is str
                    and (brand is None or type(brand) is str)
                    and customer
                    and kind not in doubtful
                ):  # rare: only such events pay for the call
                    customer = check(event, kind, customer, brand, reserved, None)
                if at is MISSING:
                    if stamped:
                        encoded = encoded[1:]
                elif not (_is_stamp(at) and earliest <= at <= latest):
                    self._check_time(at, now)
                if len(encoded) > short and size(encoded) > limit:
                    raise too_long(encoded, limit)
                if has_lines:  # between tokens: in a text, one is refused above
                    encoded = encoded.translate(_ONE_LINE)
                events.append((encoded, customer))
            except _FAULTS as error:
                problems.append(f"events[{place}]: {_explained(error)}")
        if problems:
            raise BadEventsError(problems, len(raws))
        return events

    def _split(self, body: bytes) -> list[msgspec.Raw]:
        try:
            raws: list[msgspec.Raw] = self._raws(body)
        except msgspec.ValidationError:
            place = "body" if self._key is None else f"field {self._key!r}"
            raise MalformedError(f"The {place} must be an array of events") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            hint = ", or holds a lone surrogate" if _SURROGATE.search(body) else ""
            raise MalformedError(f"The body is not JSON{hint}: {error}") from None
        except RecursionError:
            raise MalformedError("The body is not JSON: it is nested too deeply") from None
        if len(raws) > MAX_EVENTS:
            raise TooManyError
        return raws

    def _period(self, now: float) -> tuple[str, str]:
        """The earliest and the latest ``issued_at`` that are within the limits for sure, in whole
        seconds: stamps can be compared as texts."""
        earliest = "" if self._max_age is None else _text(math.ceil(now - self._max_age))
        return earliest, _text(math.floor(now + CLOCK_ERROR))

    def _check_time(self, issued_at: object, now: float) -> None:
        """Check the age of an event; a time that cannot be parsed is left to the API."""
        moment = moment_of(issued_at)
        if moment is None:
            return
        if now < moment <= now + CLOCK_ERROR:
            return
        problem = problem_with_age(moment, now, self._max_age)
        if problem is not None:
            raise MasivoValidationError(f"issued_at {problem}, by the API's clock")


def _array_of(kind: Any, key: str | None) -> Callable[[bytes], Any]:
    """A decoder of bodies: an array, or the array under a key of an object."""
    array: Any = GenericAlias(list, (kind,))
    body: Any = array
    if key is not None:
        body = msgspec.defstruct("Envelope", [("events", array)], rename={"events": key})
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode
    return decode if key is None else lambda text: decode(text).events


def _is_stamp(value: object) -> TypeGuard[str]:
    """True for a time in the form of a stamp."""
    return type(value) is str and len(value) == STAMP_LENGTH and value[-1] == "Z"


@lru_cache(2)
def _text(second: int) -> str:
    return format_stamp(second).decode()


def _explained(error: Exception) -> str:
    """The problem of an event: it is invalid, or it cannot be decoded."""
    if isinstance(error, MasivoValidationError):
        return error.message
    if isinstance(error, RecursionError):
        return _DEEP
    return UNREADABLE if isinstance(error, msgspec.ValidationError) else "a text in it is no UTF-8"


def _is_deep(encoded: bytes, value: object) -> bool:
    """True if an event has too many levels for later readers."""
    if encoded.count(b"[") + encoded.count(b"{") <= MAX_DEPTH:
        return False
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for each in level:
            if isinstance(each, dict):
                below += cast("dict[str, object]", each).values()
            elif isinstance(each, list):
                below += cast("list[object]", each)
        if not below:
            return False
        level = below
    return True
