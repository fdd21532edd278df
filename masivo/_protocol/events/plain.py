"""Plain JSON types for everything that an event may hold, and an error for anything else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import NoReturn, cast
from uuid import UUID

from masivo._protocol.errors import MasivoValidationError

__all__ = ["convert"]


def convert(value: object, path: str, above: list[int]) -> object:
    """``value`` in plain JSON types (a Decimal stays one: the encoder writes it as a number).

    Args:
        value: anything.
        path: its place in the event, for the message: ``product.tags[2]``.
        above: the identities of the containers around it.

    Raises:
        MasivoValidationError: it holds what JSON cannot carry.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, Enum):
        return convert(cast("object", value.value), path, above)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return _whole(int.__int__(value), path)
    if isinstance(value, float):
        if not math.isfinite(value):
            _invalid(
                path, f"{float.__float__(value)} has no form in JSON; leave it out or use None"
            )
        return float.__float__(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            _invalid(path, f"Decimal {value} has no form in JSON; leave it out or use None")
        return Decimal(value)
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            _invalid(
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
        _invalid(path, "contains itself")
    above.append(id(value))
    result: object
    if isinstance(value, Mapping):
        result = {
            _key(key, path): convert(item, f"{path}.{key}" if path else str(key), above)
            for key, item in cast("Mapping[object, object]", value).items()
        }
    elif isinstance(value, list | tuple):
        result = [
            convert(item, f"{path}[{index}]", above)
            for index, item in enumerate(cast("list[object]", value))
        ]
    elif is_dataclass(value) and not isinstance(value, type):
        result = {
            field.name: convert(getattr(value, field.name), f"{path}.{field.name}", above)
            for field in fields(value)
        }
    else:
        _invalid(path, f"{_kind(value)} has no form in JSON{_cure(value)}")
    above.pop()
    return result


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        _invalid(path, f"the key {key!r} is of type {_kind(key)}; keys must be str")
    return _text(key, path)


def _whole(value: int, path: str) -> int:
    try:
        str(value)
    except ValueError:  # Python bounds the digits that it writes (and reads)
        _invalid(path, "an int of that many digits cannot be written; pass it as a str")
    return value


def _text(value: str, path: str) -> str:
    plain = str.__str__(value)
    try:
        plain.encode()
    except UnicodeEncodeError:
        _invalid(
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


def _invalid(path: str, why: str) -> NoReturn:
    raise MasivoValidationError(f"{path or 'the event'}: {why}")


def _kind(value: object) -> str:
    return type(value).__name__
