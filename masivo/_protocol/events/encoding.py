"""The check and the encoding of one event.

The rules: ``docs/reference/guarantees.md#sending-and-validation``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from enum import Enum
from types import NoneType
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias, cast

from masivo._protocol.errors import MasivoValidationError
from masivo._protocol.json import encode
from masivo._protocol.wire.requests import envelope_size

from .form import STAMP_SIZE, size
from .plain import (
    check_distinct,
    convert,
    is_plain,
    is_text,
    kind_of,
    model_cure,
    plain_text,
    reading,
    unreadable,
)

if TYPE_CHECKING:
    from masivo._protocol.settings import Settings

__all__ = ["MISSING", "Encode", "as_dict", "check", "encoder", "longest", "too_long"]

Encode: TypeAlias = Callable[[Mapping[str, object]], tuple[bytes, str, int]]
"""From an event to its encoded form, its customer, and its bytes as it will be sent."""

MISSING: Final = object()
"""Stands for a field that is absent."""


def encoder(settings: Settings) -> Encode:
    """The function that checks and encodes an event for a client of these settings.

    It raises MasivoValidationError for an invalid event.
    """
    reserved = settings.account.api.reserved_types
    doubtful = {*reserved, ""}
    stamped = settings.account.api.stamp_issued_at
    limit = longest(settings)
    default_brand = settings.brand_id
    # The default brand, as it follows an event's opening brace.
    brand = b'"brand_id":' + encode(default_brand) + b","

    def encode_event(event: Mapping[str, object]) -> tuple[bytes, str, int]:
        kind_of_event: object = type(event)
        try:
            if kind_of_event is not dict:
                event = as_dict(event)
            kind, customer = event.get("type"), event.get("customer_id")
            brand_id = event.get("brand_id", MISSING)
            if not (
                type(customer) is str
                and type(kind) is str
                and (brand_id is None or type(brand_id) is str)
                and customer
                and kind not in doubtful
            ):  # rare: only such events pay for the call
                customer = check(event, kind, customer, brand_id, reserved, default_brand)
            # Always a copy: the encoder's result keeps a kilobyte allocated, however short it is.
            encoded = _encode(event)[1:]
            if brand_id is MISSING:
                encoded = brand + encoded
            if not stamped or "issued_at" in event:
                encoded = b"{" + encoded
                length = len(encoded)
            else:
                length = len(encoded) + STAMP_SIZE
        except MasivoValidationError:
            raise
        except Exception as error:  # a key that cannot be compared, for example
            raise unreadable("", error) from error
        if length > limit:
            raise too_long(encoded, limit)
        return encoded, customer, length

    return encode_event


def longest(settings: Settings) -> int:
    """The most bytes that an event may have, as it is sent."""
    room = settings.max_batch_bytes - envelope_size(settings.account.api)
    return max(0, min(settings.max_event_bytes, room))


def too_long(encoded: bytes, limit: int) -> MasivoValidationError:
    """The error of an event that has more bytes than it may have."""
    return MasivoValidationError(
        f"the event is {size(encoded)} bytes long, more than the {limit} that "
        "max_event_bytes and max_batch_bytes allow; shorten it (or raise them)"
    )


# ── The fields that the API requires ─────────────────────────────────────────────────────────


def check(
    event: Mapping[str, object],
    kind: object,
    customer: object,
    brand: object,
    reserved: Collection[str],
    default_brand: str | None,
) -> str:
    """Check the fields that the API requires of an event; return its customer.

    Args:
        event: read only if the brand is absent, and for messages.
        kind: its ``type``; None where it is absent.
        customer: its ``customer_id``; None where it is absent.
        brand: its ``brand_id``; MISSING where it is absent.
        reserved: the types that may not be sent.
        default_brand: of the client.

    Raises:
        MasivoValidationError: one is absent or wrong.
    """
    if type(kind) is not str or not kind:
        kind = _required(event, "type")
    if type(customer) is not str or not customer:
        customer = _required(event, "customer_id")
    if kind in reserved:
        _invalid_type(kind)
    if brand is MISSING:
        if default_brand is None or event.get("platform") is None:
            _missing_brand(event, has_default=default_brand is not None)
    elif type(brand) is not str and brand is not None:
        _check_brand(brand)
    return customer


def as_dict(event: object) -> dict[str, object]:
    """A copy of an event.

    Raises:
        MasivoValidationError: it is no mapping, or cannot be read.
    """
    with reading(""):
        if isinstance(event, Mapping):
            entries = cast("Mapping[str, object]", event)
            check_distinct(entries.keys(), "")
            return dict(entries)
        kind, cure = kind_of(event, ""), model_cure(event)
        if isinstance(event, str | bytes):
            cure = "; if it is JSON, pass json.loads(it)"
        elif not cure and hasattr(event, "keys"):  # a row of a database
            cure = "; pass dict(it)"
        elif isinstance(event, list | tuple | Iterator) and not cure:
            cure = "; send each of its events"
    raise MasivoValidationError(f"an event must be a mapping such as a dict, not {kind}{cure}")


def _required(event: Mapping[str, object], name: str) -> str:
    value = event.get(name, MISSING)
    if value is MISSING:
        raise MasivoValidationError(f"{name} is missing{_did_you_mean(event, name)}")
    text = plain_text(value, name)
    if not text:
        found = kind_of(value, name) if text is None else "an empty one"
        raise MasivoValidationError(f"{name} must be a non-empty str, not {found}")
    return text


def _check_brand(value: object) -> None:
    with reading("brand_id"):
        if isinstance(value, Enum):
            value = cast("object", value.value)
        if is_text(value) or isinstance(value, NoneType):
            return
    raise MasivoValidationError(
        f"brand_id must be a str, or None where no brand applies, not {kind_of(value, 'brand_id')}"
    )


def _missing_brand(event: Mapping[str, object], *, has_default: bool) -> NoReturn:
    cure = (
        "the client's default brand_id is filled only into events that have a platform"
        if has_default
        else "or give the client a default brand_id"
        if event.get("platform") is not None
        else "or give the event a platform and the client a default brand_id"
    )
    meant = _did_you_mean(event, "brand_id") or (
        "" if "platform" in event else _did_you_mean(event, "platform")
    )
    raise MasivoValidationError(
        f"brand_id is missing{meant}: pass a str, or None where no brand applies ({cure})"
    )


def _invalid_type(kind: str) -> NoReturn:
    raise MasivoValidationError(
        f"type {kind!r} is reserved: send it from a backend with a SERVER key through the "
        "Masivo REST API, not through this package; or give the event a type of your own"
    )


_MEANT: Final = {
    "type": ("event", "event_type", "eventType", "event_name", "name"),
    "customer_id": ("user_id", "userId", "distinct_id", "customer"),
    "brand_id": ("brand",),
    "platform": (),
}
"""Names that other packages use for the fields of an event."""


def _did_you_mean(event: Mapping[str, object], name: str) -> str:
    from difflib import get_close_matches  # only a mistake pays for it

    others = {str.lower(key): key for key in event if isinstance(key, str)}
    close = [
        *(others[near] for near in get_close_matches(name, others, cutoff=0.75)),
        *(other for other in _MEANT[name] if other in event),
    ]
    return f" (did you mean {name!r} instead of {close[0]!r}?)" if close else ""


def _encode(event: Mapping[str, object]) -> bytes:
    """Encode an event: at once where it holds plain types alone, else value by value."""
    try:
        for key in event:  # as `is_plain` does, for each event without one call
            if type(key) is not str:
                break
        else:
            if is_plain(event.values()):
                return encode(event)
    except (RecursionError, ValueError, TypeError, RuntimeError):
        pass  # the next encoding names the fault
    try:
        return encode(convert({**event}, "", []))  # a copy: reading runs the caller's code
    except RecursionError:
        raise MasivoValidationError("the event is nested too deeply") from None
