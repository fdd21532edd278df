"""The vendor's schema of an event: which fields it has, of which types (wire.md, "Documented").

Unknown fields pass. A field that the vendor does not describe further (`metadata`) may hold
anything of its type.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from masivo.emulator.answers import Json

# How old `issued_at` may be, in seconds.
MAX_AGE = 72 * 3600.0

RESERVED_TYPES = frozenset(
    {"PURCHASE", "ABANDONED_CART", "BIRTHDAY", "REGISTRATION", "TIER_ADJUSTMENT"}
)


class Kind(Enum):
    """The type of a field; the value is what a message says of it."""

    TEXT = "a string"
    NAME = "a non-empty string"
    NUMBER = "a number"
    FLAG = "true or false"
    OBJECT = "an object"
    LABELS = "an object or an array"


@dataclass(frozen=True, slots=True)
class Each:
    """An array whose items are objects of one shape."""

    shape: "Shape"


# What is known of an object: its fields by name. None of them is required.
Shape = Mapping[str, "Kind | Each | Shape"]

_REDEEM: Shape = {"id": Kind.TEXT, "amount": Kind.NUMBER}
_PRICED: Shape = {
    "value": Kind.NUMBER,
    "discounted_value": Kind.NUMBER,
    "redeem": Each(_REDEEM),
    "tags": Kind.LABELS,
    "metadata": Kind.OBJECT,
}
_PRODUCT: Shape = {"sku": Kind.TEXT, "amount": Kind.NUMBER, **_PRICED}
_ORDER: Shape = {
    "purchase_id": Kind.TEXT,
    "value": Kind.NUMBER,
    "discounted_value": Kind.NUMBER,
    "products": Each(_PRODUCT),
    "payment_method": Kind.TEXT,
    "channel_id": Kind.TEXT,
    "store_id": Kind.TEXT,
    "shipping": _PRICED,
    "redeem": Each(_REDEEM),
    "metadata": Kind.OBJECT,
}
# `customer_id`, `type`, `brand_id` and `issued_at` have rules of their own below.
_EVENT: Shape = {
    "platform": Kind.TEXT,
    "order": _ORDER,
    "product": _PRODUCT,
    "fulfilled": Kind.FLAG,
    "reserve": Kind.NUMBER,
    "redeem": Each(_REDEEM),
    "tags": Kind.LABELS,
    "referral_code": Kind.TEXT,
    "metadata": Kind.OBJECT,
}

_DAY = r"\d{4}-\d{2}-\d{2}"
_TIME = r"\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?"
_ZONE = r"Z|[+-]\d{2}(:?\d{2})?"
_ISO_8601 = re.compile(rf"{_DAY}(T{_TIME}({_ZONE})?)?", re.ASCII)


def problem_with(event: Json, *, now: float, reserved: frozenset[str]) -> str | None:
    """Say what is wrong with an event, or return None for a good one.

    `now` is the server's time in seconds since the epoch; `reserved` holds the types that the
    key must not send. The text begins with the field's path: `.product.sku must be a string`.
    """
    if not isinstance(event, dict):
        return " must be an object"
    for name in ("customer_id", "type"):
        if not _is_kind(event.get(name), Kind.NAME):
            return f".{name} must be {Kind.NAME.value}"
    if event["type"] in reserved:
        return f".type {event['type']} is reserved: send it with a SERVER key"
    if "brand_id" not in event:
        return ".brand_id is required (null where no brand applies)"
    if not (event["brand_id"] is None or isinstance(event["brand_id"], str)):
        return ".brand_id must be a string or null"
    if "issued_at" in event and (problem := _problem_with_time(event["issued_at"], now)):
        return f".issued_at {problem}"
    return _problem_with_fields(event, _EVENT, "")


def _problem_with_fields(value: dict[str, Json], shape: Shape, path: str) -> str | None:
    for name, field in value.items():
        rule = shape.get(name)
        if rule is None:
            continue
        if isinstance(rule, Kind):
            problem = None if _is_kind(field, rule) else f"{path}.{name} must be {rule.value}"
        elif isinstance(rule, Each):
            problem = _problem_with_array(field, rule.shape, f"{path}.{name}")
        else:
            problem = _problem_with_object(field, rule, f"{path}.{name}")
        if problem:
            return problem
    return None


def _problem_with_array(value: Json, shape: Shape, path: str) -> str | None:
    if not isinstance(value, list):
        return f"{path} must be an array"
    for index, item in enumerate(value):
        if problem := _problem_with_object(item, shape, f"{path}[{index}]"):
            return problem
    return None


def _problem_with_object(value: Json, shape: Shape, path: str) -> str | None:
    if not isinstance(value, dict):
        return f"{path} must be an object"
    return _problem_with_fields(value, shape, path)


def _is_kind(value: Json, kind: Kind) -> bool:
    match kind:
        case Kind.TEXT:
            return isinstance(value, str)
        case Kind.NAME:
            return isinstance(value, str) and value != ""
        case Kind.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Kind.FLAG:
            return isinstance(value, bool)
        case Kind.OBJECT:
            return isinstance(value, dict)
        case Kind.LABELS:
            return isinstance(value, dict | list)


def _problem_with_time(value: Json, now: float) -> str | None:
    """Check `issued_at`; a time without an offset is taken as UTC."""
    if not isinstance(value, str) or not _ISO_8601.fullmatch(value):
        return "must be an ISO 8601 date and time"
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return "must be an ISO 8601 date and time"
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    age = now - moment.timestamp()
    if age < 0:
        return f"is {-age:.3f} s in the future"
    if age > MAX_AGE:
        return "is more than 72 hours old"
    return None
