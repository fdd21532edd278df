"""The vendor's schema of an event: its fields and their types
(``docs/explanation/wire.md#documented-by-the-vendor``).

Unknown fields are accepted. A field that the vendor does not describe further (`metadata`) may
hold any value of its type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from .api import Api

if TYPE_CHECKING:
    from masivo._protocol.json import Json

__all__ = ["FLAG", "NUMBER", "kind_at", "moment_of", "problem_with", "problem_with_age"]

_MAX_AGE: Final = Api().max_age


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a field."""

    types: frozenset[type]
    """The types of such a value as ``json.loads`` returns it."""
    text: str
    """Its name in messages."""


TEXT = Kind(frozenset({str}), "a string")
NUMBER = Kind(frozenset({int, float}), "a number")
FLAG = Kind(frozenset({bool}), "true or false")
OBJECT = Kind(frozenset({dict}), "an object")
LABELS = Kind(frozenset({dict, list}), "an object or an array")


@dataclass(frozen=True, slots=True)
class Each:
    """An array whose items are objects of one shape."""

    shape: Shape


Shape: TypeAlias = Mapping[str, "Kind | Each | Shape"]
"""The fields of an object by name. None of them is required."""

_REDEEM: Shape = {"id": TEXT, "amount": NUMBER}
_PRICED: Shape = {
    "value": NUMBER,
    "discounted_value": NUMBER,
    "redeem": Each(_REDEEM),
    "tags": LABELS,
    "metadata": OBJECT,
}
_PRODUCT: Shape = {"sku": TEXT, "amount": NUMBER, **_PRICED}
_ORDER: Shape = {
    "purchase_id": TEXT,
    "value": NUMBER,
    "discounted_value": NUMBER,
    "products": Each(_PRODUCT),
    "payment_method": TEXT,
    "channel_id": TEXT,
    "store_id": TEXT,
    "shipping": _PRICED,
    "redeem": Each(_REDEEM),
    "metadata": OBJECT,
}
# `customer_id`, `type`, `brand_id` and `issued_at` have rules of their own below.
_EVENT: Shape = {
    "platform": TEXT,
    "order": _ORDER,
    "product": _PRODUCT,
    "fulfilled": FLAG,
    "reserve": NUMBER,
    "redeem": Each(_REDEEM),
    "tags": LABELS,
    "referral_code": TEXT,
    "metadata": OBJECT,
}


def kind_at(path: Sequence[str]) -> Kind | None:
    """Return the type of the field that these names lead to; None if it has none, or is in an
    array."""
    rule: Kind | Each | Shape | None = _EVENT
    for name in path:
        rule = rule.get(name) if isinstance(rule, Mapping) else None
    return rule if isinstance(rule, Kind) else None


_DAY = r"\d{4}-\d{2}-\d{2}"
_TIME = r"\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?"
_ZONE = r"Z|[+-]\d{2}(:?\d{2})?"
_ISO_8601 = re.compile(rf"{_DAY}(T{_TIME}({_ZONE})?)?", re.ASCII)


def problem_with(event: Json, *, now: float, reserved: frozenset[str]) -> str | None:
    """Return what is wrong with an event, or None if it is valid.

    Args:
        event: as parsed.
        now: the server's time, in seconds since the epoch.
        reserved: the types that the key may not send.

    Returns:
        A text that begins with the field's path: ``.product.sku must be a string``.
    """
    if not isinstance(event, dict):
        return " must be an object"
    for name in ("customer_id", "type"):
        value = event.get(name)
        if not (isinstance(value, str) and value):
            return f".{name} must be a non-empty string"
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
            problem = None if type(field) in rule.types else f"{path}.{name} must be {rule.text}"
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


def _problem_with_time(value: Json, now: float) -> str | None:
    moment = moment_of(value)
    if moment is None:
        return "must be an ISO 8601 date and time"
    return problem_with_age(moment, now, _MAX_AGE)


def moment_of(value: object) -> float | None:
    """The moment that an ``issued_at`` names, in seconds since the epoch; None if it is no ISO 8601
    date and time. One without an offset counts as UTC."""
    if not isinstance(value, str) or not _ISO_8601.fullmatch(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def problem_with_age(moment: float, now: float, max_age: float | None) -> str | None:
    """Return what is wrong with the moment of an ``issued_at``, or None if nothing is.

    Args:
        moment: in seconds since the epoch.
        now: the server's time.
        max_age: the greatest age, in seconds; None: any.
    """
    age = now - moment
    if age < 0:
        return f"is {-age:.3f} s in the future"
    if max_age is not None and age > max_age:
        return f"is more than {max_age / 3600:g} hours old"
    return None
