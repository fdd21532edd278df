"""Validation and encoding of one event, once, at the call that sends it.

An event is kept as bytes in one of two forms: complete (it starts with ``{``), or without its
opening brace where ``issued_at`` is still to be stamped in front. ``complete`` and ``size`` are
the only functions that need to know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, cast
from uuid import UUID

from .errors import MasivoValidationError
from .json import PLAIN, Json, decode_encoded, encode, encode_plain
from .stamps import STAMP_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .settings import Settings

__all__ = [
    "BRACE",
    "STAMP_SIZE",
    "Encode",
    "complete",
    "decode",
    "encoder",
    "opening",
    "size",
]

Encode: TypeAlias = Callable[[Mapping[str, object]], tuple[bytes, str]]
"""From an event to its encoded form and its customer."""

_OPEN: Final = b'{"issued_at":"'
_NEXT: Final = b'",'
BRACE: Final = 0x7B
"""The first byte of an event that needs no stamp."""

STAMP_SIZE: Final = len(_OPEN) + STAMP_LENGTH + len(_NEXT)
"""What a stamp adds to an event that was kept without its brace, in bytes."""

_MISSING: Final = object()

_type_of: Final = cast("Callable[[Any], object]", type)


def size(encoded: bytes) -> int:
    """The bytes of an event as it will be sent."""
    return len(encoded) if encoded[0] == BRACE else len(encoded) + STAMP_SIZE


def opening(stamp: bytes) -> bytes:
    """What an event that was kept without its opening brace begins with."""
    return _OPEN + stamp + _NEXT


def complete(encoded: bytes, stamp: bytes) -> bytes:
    """The event as it is sent, with ``stamp`` where it has no ``issued_at`` of its own."""
    return encoded if encoded[0] == BRACE else opening(stamp) + encoded


def decode(encoded: bytes) -> dict[str, Json]:
    """The event again, as the caller gave it (without a stamp).

    If it holds an ``orjson.Fragment`` that is no JSON, its text is all there is, without a name.
    """
    whole = encoded if encoded[0] == BRACE else b"{" + encoded
    try:
        return cast("dict[str, Json]", decode_encoded(whole))
    except ValueError:
        return {"": whole.decode("utf-8", "replace")}


def encoder(settings: Settings) -> Encode:
    """The function that checks and encodes an event for a client of these settings.

    It raises MasivoValidationError for an event that the contract refuses (section 3).
    """
    reserved = settings.account.api.reserved_types
    stamped = settings.account.api.stamp_issued_at
    room = settings.max_batch_bytes - envelope_size(settings.account.api.events_key)
    limit = max(0, min(settings.max_event_bytes, room))
    default_brand = settings.brand_id
    # The default brand, as it stands behind an event's opening brace.
    brand = b'"brand_id":' + encode(default_brand) + b","

    def encode_event(event: Mapping[str, object]) -> tuple[bytes, str]:
        # Another thread may change the event meanwhile: while the encoder asks an Enum for its
        # value others run, and it does not hold on to what the dict then loses.
        event = {**event} if event.__class__ is dict else _as_dict(event)
        kind = event.get("type")
        customer = event.get("customer_id")
        if type(kind) is not str or not kind:
            kind = _required(event, "type")
        if type(customer) is not str or not customer:
            customer = _required(event, "customer_id")
        if kind in reserved:
            _refuse_reserved(kind)
        brand_id = event.get("brand_id", _MISSING)
        if brand_id is _MISSING:
            if default_brand is None or event.get("platform") is None:
                _refuse_brandless(event, has_default=default_brand is not None)
        elif type(brand_id) is not str and brand_id is not None:
            _check_brand(brand_id)
        try:
            encoded = encode_plain(event, None, PLAIN)
            if encoded.count(b"null") > (brand_id is None) and not _is_finite(event.values()):
                encoded = _encode_unusual(event)
        except (TypeError, RuntimeError):
            encoded = _encode_unusual(event)
        # A copy in any case: what the encoder returns stays in a kilobyte, however short it is.
        encoded = encoded[1:]
        if brand_id is _MISSING:
            encoded = brand + encoded
        if not stamped or "issued_at" in event:
            encoded = b"{" + encoded
        if len(encoded) > limit - STAMP_SIZE and size(encoded) > limit:
            raise MasivoValidationError(
                f"the event is {size(encoded)} bytes long, more than the {limit} that "
                "max_event_bytes and max_batch_bytes allow; shorten it (or raise them)"
            )
        return encoded, customer

    return encode_event


def envelope_size(events_key: str | None) -> int:
    """The bytes that a batch's body has around its events."""
    opening, closing = envelope(events_key)
    return len(opening) + len(closing)


def envelope(events_key: str | None) -> tuple[bytes, bytes]:
    """What stands before and after the events in a batch's body."""
    if events_key is None:
        return b"[", b"]"
    return b"{" + encode(events_key) + b":[", b"]}"


# ── The fields that the API requires ─────────────────────────────────────────────────────────


def _as_dict(event: object) -> dict[str, object]:
    if isinstance(event, Mapping):
        try:
            return dict(cast("Mapping[str, object]", event))
        except RuntimeError as error:
            _refuse_unreadable(error)
    raise MasivoValidationError(f"an event must be a mapping such as a dict, not {_kind(event)}")


def _required(event: Mapping[str, object], name: str) -> str:
    value = event.get(name, _MISSING)
    if isinstance(value, Enum):
        value = cast("object", value.value)
    if isinstance(value, str) and value:
        return str.__str__(value)
    if value is _MISSING:
        raise MasivoValidationError(f"{name} is missing{_did_you_mean(event, name)}")
    found = "an empty one" if isinstance(value, str) else _kind(value)
    raise MasivoValidationError(f"{name} must be a non-empty str, not {found}")


def _check_brand(value: object) -> None:
    if isinstance(value, Enum):
        value = cast("object", value.value)
    if value is not None and not isinstance(value, str):
        raise MasivoValidationError(
            f"brand_id must be a str, or None where no brand applies, not {_kind(value)}"
        )


def _refuse_brandless(event: Mapping[str, object], *, has_default: bool) -> NoReturn:
    cure = (
        "the client's default brand_id is filled only into events that have a platform"
        if has_default
        else "or give the event a platform and the client a default brand_id"
    )
    raise MasivoValidationError(
        f"brand_id is missing{_did_you_mean(event, 'brand_id')}: pass a str, or None where no "
        f"brand applies ({cure})"
    )


def _refuse_reserved(kind: str) -> NoReturn:
    raise MasivoValidationError(
        f"type {kind!r} is reserved: send it from a backend with a SERVER key through the "
        "Masivo REST API, not through this package; or give the event a type of your own"
    )


def _did_you_mean(event: Mapping[str, object], name: str) -> str:
    from difflib import get_close_matches  # only a mistake pays for it

    others = [key for key in event if isinstance(key, str)]
    close = get_close_matches(name, others, cutoff=0.75)
    return f" (did you mean {name!r} where it says {close[0]!r}?)" if close else ""


# ── What JSON can carry ──────────────────────────────────────────────────────────────────────
#
# The common event is encoded at once, by an encoder that refuses nearly all that JSON cannot carry.
# What it refuses is looked at again, value by value: `_convert` turns what else the contract allows
# into plain types, and names what it does not.
#
# A walk in Python before every encoding, as there was, took two thirds of their time (1.2 µs of 1.8
# for an event of 330 bytes; now both take 0.4).


def _is_finite(values: Iterable[Any]) -> bool:
    """Whether what was encoded holds no NaN and no infinity: they became null, as None does."""
    for value in values:
        kind = _type_of(value)
        if kind is str or kind is int or kind is bool or value is None:
            continue
        if kind is float:
            if value - value != 0.0:  # 0 for every finite float, and no call
                return False
        elif kind is dict:
            if not _is_finite(value.values()):
                return False
        elif kind is list or kind is tuple:
            if not _is_finite(value):
                return False
        else:  # such as an Enum, of which the encoder writes the value
            return False
    return True


def _encode_unusual(event: Mapping[str, object]) -> bytes:
    try:
        return encode(_convert(event, "", []))
    except MasivoValidationError:
        raise
    except RecursionError:
        raise MasivoValidationError("the event is nested too deeply") from None
    except RuntimeError as error:
        _refuse_unreadable(error)
    except (ValueError, TypeError, OverflowError) as error:
        kind = _kind(error)
        raise MasivoValidationError(f"the event has no form in JSON: {kind}") from None


def _convert(value: object, path: str, above: list[int]) -> object:
    """``value`` in plain JSON types (a Decimal stays one: the encoder writes it as a number).

    Args:
        value: anything.
        path: where it stands, for the message: ``product.tags[2]``.
        above: the identities of the containers that it stands in.

    Raises:
        MasivoValidationError: it holds what JSON cannot carry.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, Enum):
        return _convert(cast("object", value.value), path, above)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return _whole(int.__int__(value), path)
    if isinstance(value, float):
        if not math.isfinite(value):
            _refuse(path, f"{float.__float__(value)} has no form in JSON; leave it out or use None")
        return float.__float__(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            _refuse(path, f"Decimal {value} has no form in JSON; leave it out or use None")
        return Decimal(value)
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            _refuse(
                path,
                "a naive datetime (without tzinfo) names no moment; "
                "pass an aware one, such as datetime.now(timezone.utc)",
            )
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return _convert_container(value, path, above)


def _convert_container(value: object, path: str, above: list[int]) -> object:
    if id(value) in above:
        _refuse(path, "contains itself")
    above.append(id(value))
    result: object
    if isinstance(value, Mapping):
        result = {
            _key(key, path): _convert(item, f"{path}.{key}" if path else str(key), above)
            for key, item in cast("Mapping[object, object]", value).items()
        }
    elif isinstance(value, list | tuple):
        result = [
            _convert(item, f"{path}[{index}]", above)
            for index, item in enumerate(cast("list[object]", value))
        ]
    elif is_dataclass(value) and not isinstance(value, type):
        result = {
            field.name: _convert(getattr(value, field.name), f"{path}.{field.name}", above)
            for field in fields(value)
        }
    else:
        _refuse(path, f"{_kind(value)} has no form in JSON{_cure(value)}")
    above.pop()
    return result


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        _refuse(path, f"the key {key!r} is of type {_kind(key)}; keys must be str")
    return _text(key, path)


def _whole(value: int, path: str) -> int:
    try:
        str(value)
    except ValueError:  # Python bounds the digits that it writes (and reads)
        _refuse(path, "an int of so many digits cannot be written; pass it as a str")
    return value


def _text(value: str, path: str) -> str:
    plain = str.__str__(value)
    try:
        plain.encode()
    except UnicodeEncodeError:
        _refuse(
            path,
            "a lone surrogate cannot be encoded as UTF-8; "
            "decode the text with errors='replace' where it is read",
        )
    return plain


def _cure(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return "; decode it to str"
    if isinstance(value, set | frozenset):
        return "; pass a list (sorted, if order matters)"
    if type(value).__name__ == "timedelta":
        return "; pass its total_seconds()"
    return "; pass str, int, float, bool, None, a list or a dict"


def _refuse_unreadable(error: RuntimeError) -> NoReturn:
    """Refuse an event for what its iteration raised: "dictionary changed size", and such."""
    raise MasivoValidationError(
        f"the event could not be read: {error}. If another thread changes it, send a copy"
    )


def _refuse(path: str, why: str) -> NoReturn:
    raise MasivoValidationError(f"{path or 'the event'}: {why}")


def _kind(value: object) -> str:
    return type(value).__name__
