"""The check of a received batch, whose events stay byte for byte.

The rules for one event are the core's own (``_protocol/events/encoding``), as
``send_analytics_event`` applies them; here they are applied to JSON.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from itertools import repeat
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from msgspec import UNSET, UnsetType

from masivo import MasivoValidationError
from masivo._protocol.events.encoding import MISSING, check, longest, too_long
from masivo._protocol.events.form import STAMP_SIZE, size
from masivo._protocol.events.plain import UNREADABLE
from masivo._protocol.wire.dates import STAMP_LENGTH, format_stamp
from masivo._protocol.wire.schema import moment_of, problem_with_age

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
        self.problems: list[str] = problems
        self.total: int = total


_decode: Final = msgspec.json.Decoder().decode
_FAULTS: Final = (
    MasivoValidationError,
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
)


class _Fields(msgspec.Struct, gc=False):
    """The fields of a usual event that are checked; msgspec reads the others' syntax alone."""

    type: str
    customer_id: str
    brand_id: str | None
    issued_at: str | UnsetType = UNSET


class Check:
    """Splits and checks bodies.

    The fields of usual events are decoded all at once, without the others. An event that may be
    unusual is decoded by itself and in full, and so is each event beside one of which not even
    these fields can be decoded.

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
        self._fields = _array_of(_Fields, api.events_key)

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
        is_ascii, readable = body.isascii(), not _may_overflow(body)
        doubtful, stamped = self._doubtful, self._stamped
        earliest, latest = self._period(now)
        most = self._longest - STAMP_SIZE
        short = min(most, _MAYBE_DEEP)
        events: list[Event] = []
        problems: list[str] = []
        for encoded, fields in zip(map(bytes, raws), self._usual(body), strict=False):
            if (
                fields is not None
                and (customer := fields.customer_id)
                and fields.type not in doubtful
                and ((at := fields.issued_at) is UNSET or _is_within(at, earliest, latest))
                and (len(encoded) <= short or (len(encoded) <= most and not _may_be_deep(encoded)))
                and (is_ascii or _is_utf8(encoded))
                and (readable or not _may_overflow(encoded))
            ):
                if at is UNSET and stamped:
                    encoded = encoded[1:]
            else:
                try:
                    encoded, customer = self._event(encoded, now)
                except _FAULTS as error:
                    place = len(events) + len(problems)
                    problems.append(f"events[{place}]: {_explained(error)}")
                    continue
            if has_lines:  # between tokens: in a text, one is refused above
                encoded = encoded.translate(_ONE_LINE)
            events.append((encoded, customer))
        if problems:
            raise BadEventsError(problems, len(raws))
        return events

    def _usual(self, body: bytes) -> Iterable[_Fields | None]:
        """The checked fields of each event; endless None if they cannot be decoded."""
        try:
            fields: list[_Fields] = self._fields(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return repeat(None)
        return fields

    def _event(self, encoded: bytes, now: float) -> Event:
        """Decode and check an event by itself.

        Raises:
            _FAULTS: it is bad.
        """
        event: object = _decode(encoded)
        if not isinstance(event, dict):
            raise MasivoValidationError("an event must be an object")
        fields = cast("dict[str, object]", event)
        if _may_be_deep(encoded) and _is_deep(fields):
            raise MasivoValidationError(_DEEP)
        kind, customer = fields.get("type"), fields.get("customer_id")
        brand, at = fields.get("brand_id", MISSING), fields.get("issued_at", MISSING)
        customer = check(fields, kind, customer, brand, self._reserved, None)
        if at is not MISSING:
            self._check_time(at, now)
        elif self._stamped:
            encoded = encoded[1:]
        if size(encoded) > self._longest:
            raise too_long(encoded, self._longest)
        return encoded, customer

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
        if moment <= now + CLOCK_ERROR:
            moment = min(moment, now)
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


def _is_within(at: str, earliest: str, latest: str) -> bool:
    """True for a stamp between two others."""
    return len(at) == STAMP_LENGTH and at[-1] == "Z" and earliest <= at <= latest


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


def _is_utf8(encoded: bytes) -> bool:
    """True if the bytes are a text in UTF-8."""
    try:
        encoded.decode()
    except UnicodeDecodeError:
        return False
    return True


_DIGITS: Final = bytes.maketrans(b"123456789+E", b"0000000000e")
_LARGE_EXPONENT: Final = b"0e000"
_MANY_DIGITS: Final = b"0" * 200


def _may_overflow(text: bytes) -> bool:
    """True if a JSON text may hold a number that Python cannot: beyond all floats, or of thousands
    of digits. Such a number has an exponent of three digits or more, or 200 digits in a row."""
    digits = text.translate(_DIGITS)
    # From the end: that takes half the time of `in`.
    return digits.rfind(_LARGE_EXPONENT) >= 0 or _MANY_DIGITS in digits


def _may_be_deep(encoded: bytes) -> bool:
    """True if an event may have too many levels for later readers."""
    return encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH


def _is_deep(value: object) -> bool:
    """True if an event has too many levels for later readers."""
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
