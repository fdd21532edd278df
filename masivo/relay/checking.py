"""The check of a received batch, whose events stay byte for byte.

The rules for one event are the core's own (``_protocol/events/encoding``), as
``send_analytics_event`` applies them; here they are applied to JSON.
"""

from __future__ import annotations

import re
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, cast

import msgspec

from masivo import MasivoValidationError
from masivo._protocol.events.encoding import MISSING, check, longest, too_long
from masivo._protocol.events.form import STAMP_SIZE, size
from masivo._protocol.events.plain import UNREADABLE
from masivo._protocol.json import NOT_JSON, parse
from masivo._protocol.wire.dates import STAMP_LENGTH, format_stamp
from masivo._protocol.wire.schema import moment_of, problem_with_age

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
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

_DIGITS: Final = bytes.maketrans(b"123456789+E", b"0000000000e")
_MANY: Final = b"0" * 200
_BEYOND: Final = b"0e000"

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


class _Fields(msgspec.Struct, gc=False):
    """The fields that are checked."""

    type: Any = None
    customer_id: Any = None
    brand_id: Any = MISSING
    issued_at: Any = MISSING


_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class _Usual(msgspec.Struct, gc=False):
    """The same fields of an event in which nothing is wrong, but for its time."""

    type: _Text
    customer_id: _Text
    brand_id: str | None
    issued_at: str | msgspec.UnsetType = msgspec.UNSET


_NOTHING: Final[Mapping[str, object]] = {}
_lines: Final = msgspec.json.Encoder().encode_lines
_fields: Final = msgspec.json.Decoder(_Fields).decode
_decode: Final = msgspec.json.Decoder().decode


class Check:
    """Splits and checks bodies.

    Args:
        settings: of the client that delivers.
    """

    def __init__(self, settings: Settings) -> None:
        api = settings.account.api
        self._reserved = api.reserved_types
        self._stamped = api.stamp_issued_at
        self._max_age = api.max_age
        self._longest = longest(settings)
        self._key = api.events_key
        self._raws = _array_of(msgspec.Raw, api.events_key)
        self._usual = _array_of(_Usual, api.events_key)

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
        events = self._at_once(body, raws, now)
        return self._one_by_one(body, raws, now) if events is None else events

    def one_by_one(self, body: bytes, now: float) -> list[Event]:
        """Do the same as ``events``, in the way that can explain everything, and that takes
        longer."""
        return self._one_by_one(body, self._split(body), now)

    def _at_once(self, body: bytes, raws: list[msgspec.Raw], now: float) -> list[Event] | None:
        """Return the events of a usual body; None for any other."""
        if b"\n" in body or b"\r" in body or _has_large_number(body) or not _is_utf8(body):
            return None
        reserved, stamped = self._reserved, self._stamped
        earliest, latest = self._period(now)
        longest = self._longest - STAMP_SIZE
        events: list[Event] = []
        try:
            lines = _lines(raws).split(b"\n")  # and one that is empty
            for encoded, event in zip(lines, self._usual(body), strict=False):
                if len(encoded) > 2 * MAX_DEPTH and _may_be_deep(encoded):
                    return None
                at = event.issued_at
                if at is msgspec.UNSET:
                    if stamped:
                        encoded = encoded[1:]
                elif not (_is_stamp(at) and earliest <= at <= latest):
                    return None
                if event.type in reserved or len(encoded) > longest:
                    return None
                events.append((encoded, event.customer_id))
        except (msgspec.DecodeError, RecursionError):
            return None
        return events

    def _one_by_one(self, body: bytes, raws: list[msgspec.Raw], now: float) -> list[Event]:
        # In what the parser skips, it finds lone surrogates, but not invalid UTF-8, nor numbers
        # that cannot be read.
        doubtful = _has_large_number(body) or not _is_utf8(body)
        lines = b"\n" in body or b"\r" in body
        longest, reserved, stamped = self._longest, self._reserved, self._stamped
        earliest, latest = self._period(now)
        problems: list[str] = []
        events: list[Event] = []
        for place, raw in enumerate(raws):
            encoded = bytes(raw)
            try:
                if doubtful or _may_be_deep(encoded):
                    _check_readable(encoded)
                fields = _fields(encoded)
                customer = check(
                    _NOTHING, fields.type, fields.customer_id, fields.brand_id, reserved, None
                )
                at = fields.issued_at
                if at is not MISSING:
                    if not (_is_stamp(at) and earliest <= at <= latest):
                        self._check_time(at, now)
                elif stamped:
                    encoded = encoded[1:]
                if len(encoded) > longest - STAMP_SIZE and size(encoded) > longest:
                    raise too_long(encoded, longest)
                if lines:
                    # JSON has line ends only between tokens.
                    encoded = encoded.replace(b"\n", b" ").replace(b"\r", b" ")
            except MasivoValidationError as error:
                problems.append(f"events[{place}]: {self._explained(encoded, error)}")
            except msgspec.ValidationError:
                problems.append(f"events[{place}]: an event must be an object")
            except (msgspec.DecodeError, UnicodeDecodeError):
                problems.append(f"events[{place}]: a text in it is no UTF-8")
            except RecursionError:
                problems.append(f"events[{place}]: the event is nested too deeply")
            else:
                events.append((encoded, customer))
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
        """The earliest and the latest ``issued_at``: stamps can be compared as texts."""
        earliest = "" if self._max_age is None else _text(now - self._max_age)
        return earliest, _text(now + CLOCK_ERROR)

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

    def _explained(self, encoded: bytes, error: MasivoValidationError) -> str:
        """The message for an invalid event, made with all its fields, which can give a better
        hint."""
        event = parse(encoded)
        if event is not NOT_JSON and isinstance(event, dict):
            try:
                _check_all(event, self._reserved)
            except MasivoValidationError as better:
                return better.message
        return error.message


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


def _text(moment: float) -> str:
    return format_stamp(moment).decode()


def _is_utf8(body: bytes) -> bool:
    try:
        return body.isascii() or bool(body.decode())
    except UnicodeDecodeError:
        return False


def _has_large_number(body: bytes) -> bool:
    """Return False if no number in a body has 200 digits, or an exponent of three."""
    digits = body.translate(_DIGITS)
    return _BEYOND in digits or _MANY in digits


def _may_be_deep(encoded: bytes) -> bool:
    return encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH


def _check_readable(encoded: bytes) -> None:
    """Check that later readers can read an event.

    Raises:
        MasivoValidationError: not a number in it.
        msgspec.DecodeError: not a text in it.
        RecursionError: it has too many levels.
    """
    try:
        level: list[object] = [_decode(encoded)]
    except msgspec.ValidationError:
        raise MasivoValidationError(UNREADABLE) from None
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for each in level:
            if isinstance(each, dict):
                below += cast("dict[str, object]", each).values()
            elif isinstance(each, list):
                below += cast("list[object]", each)
        if not below:
            return
        level = below
    raise RecursionError


def _check_all(event: dict[str, Any], reserved: Collection[str]) -> None:
    kind, customer = event.get("type"), event.get("customer_id")
    check(event, kind, customer, event.get("brand_id", MISSING), reserved, None)
