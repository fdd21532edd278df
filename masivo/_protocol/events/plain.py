"""Plain JSON types for everything that an event may hold, and an error for anything else.

The caller's objects can be anything: a mapping that raises, a dataclass without a value in a field,
a lazy proxy (of Werkzeug, of Django), whose class is not its type. A value is taken where there is
a plain one; any exception becomes a MasivoValidationError that names the place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast
from uuid import UUID

from masivo._protocol.errors import MasivoValidationError
from masivo._protocol.json import NOT_JSON, encode, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = [
    "UNREADABLE",
    "check_distinct",
    "convert",
    "is_plain",
    "is_text",
    "kind_of",
    "model_cure",
    "plain_text",
    "reading",
    "unreadable",
]

UNREADABLE: Final = "most readers of JSON cannot hold a number as large as that; pass it as a str"
"""The fault of a number that ``parse`` cannot read, as most readers of JSON cannot."""
_LARGE: Final = 300
"""The digits before the point of numbers that ``parse`` perhaps cannot read."""

_type_of: Final = cast("Callable[[object], object]", type)


def is_plain(values: Iterable[Any]) -> bool:
    """Return whether the values are finite numbers, texts without a subclass, bools, None, and
    dicts, lists and tuples of these. It runs for every event, so it avoids calls."""
    for value in values:
        kind = _type_of(value)
        if kind is str or kind is int or kind is bool or value is None:
            continue
        if kind is float:
            if value - value != 0.0:  # 0 for every finite float
                return False
        elif kind is dict:
            for key in value:
                if type(key) is not str:
                    return False
            if not is_plain(value.values()):
                return False
        elif (kind is not list and kind is not tuple) or not is_plain(value):
            return False
    return True


@contextmanager
def reading(path: str) -> Generator[None, None, None]:
    """Name the place of an exception that the caller's objects raise while they are read.

    Raises:
        MasivoValidationError: in its place.
    """
    try:
        yield
    except (MasivoValidationError, RecursionError):
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> MasivoValidationError:
    """The error of what raised an exception while it was read."""
    changed = isinstance(error, RuntimeError) and "during iteration" in str(error)
    hint = ". If another thread changes it, send a copy" if changed else ""
    return MasivoValidationError(
        f"{path or 'the event'}: it could not be read: {type(error).__name__}: {error}{hint}"
    )


def plain_text(value: object, path: str) -> str | None:
    """The text of a str, of an Enum with such a value, or of a proxy for one; None for others."""
    with reading(path):
        if isinstance(value, Enum):
            value = cast("object", value.value)
        return _text(value, path) if is_text(value) else None


def is_text(value: object) -> bool:
    """Return whether a value is a str, a proxy for one, or a text that Django makes when it is
    needed, such as a translation: alone of these, it has no str's class."""
    return isinstance(value, str) or (
        hasattr(type(value), "casefold")
        and any(base.__name__ == "Promise" for base in type(value).__mro__)
    )


def kind_of(value: object, path: str) -> str:
    """The name of the class of what is at ``path``; of a proxy's value, if it is a proxy.

    Raises:
        MasivoValidationError: it is a proxy without a value.
    """
    with reading(path):
        # Only this tells why a proxy of Werkzeug has no value: its class is then its own.
        if hasattr(type(value), "_get_current_object"):
            cast("Any", value)._get_current_object()  # noqa: SLF001 (documented)
        return value.__class__.__name__


def convert(value: object, path: str, above: list[int]) -> object:
    """Return the value in plain JSON types (a Decimal stays one: it is encoded as a number).

    Args:
        value: anything.
        path: its place in the event, for the message: ``product.tags[2]``.
        above: the identities of the containers around it.

    Raises:
        MasivoValidationError: it holds what JSON cannot carry, or cannot be read.
    """
    with reading(path):
        return _convert(value, path, above)


def _convert(value: object, path: str, above: list[int]) -> object:
    if isinstance(value, Enum):
        return _convert_container(value, path, above)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        # By the method: `int` and `float` do not take every proxy.
        number = int.__int__(value) if issubclass(type(value), int) else int(value.__int__())
        return _whole(number, path)
    if isinstance(value, float):
        real = (
            float.__float__(value) if issubclass(type(value), float) else float(value.__float__())
        )
        if not math.isfinite(real):
            _invalid(path, f"{real} has no form in JSON; leave it out or use None")
        return real
    if isinstance(value, Decimal):
        exact = Decimal(value) if issubclass(type(value), Decimal) else Decimal(str(value))
        if not exact.is_finite():
            _invalid(path, f"Decimal {exact} has no form in JSON; leave it out or use None")
        if exact.adjusted() > _LARGE and parse(encode(exact)) is NOT_JSON:
            _invalid(path, UNREADABLE)
        return exact
    if isinstance(value, datetime):
        if value != value:  # true of pandas' NaT alone, which is a datetime
            _invalid(path, "NaT has no form in JSON; leave it out or use None")
        if value.utcoffset() is None:
            _invalid(
                path,
                "a naive datetime (without tzinfo) is ambiguous; "
                "pass an aware one, such as datetime.now(timezone.utc)",
            )
        return convert(value.isoformat(), path, above)
    if isinstance(value, date):
        return convert(value.isoformat(), path, above)
    if isinstance(value, UUID):
        return _text(str(value), path)
    if isinstance(value, NoneType):
        return None
    return _convert_container(value, path, above)


def _convert_container(value: object, path: str, above: list[int]) -> object:
    if id(value) in above:
        _invalid(path, "contains itself")
    above.append(id(value))
    result: object
    if isinstance(value, Enum):
        result = convert(cast("object", value.value), path, above)
    elif isinstance(value, Mapping):
        entries = [
            (_key(key, path), item) for key, item in cast("Mapping[object, object]", value).items()
        ]
        check_distinct([name for name, _ in entries], path)
        result = {
            name: convert(item, f"{path}.{name}" if path else name, above) for name, item in entries
        }
    elif isinstance(value, list | tuple):
        result = [
            convert(item, f"{path}[{index}]", above)
            for index, item in enumerate(cast("list[object]", value))
        ]
    elif is_dataclass(value.__class__) and not isinstance(value, type):
        result = {
            field.name: _field(value, field.name, f"{path}.{field.name}", above)
            for field in fields(value.__class__)
        }
    elif is_text(value):
        result = _text(value, path)
    else:
        _invalid(path, f"{kind_of(value, path)} has no form in JSON{_cure(value)}")
    above.pop()
    return result


def _field(value: object, name: str, path: str, above: list[int]) -> object:
    with reading(path):
        item: object = getattr(value, name)
        return _convert(item, path, above)


def _key(key: object, path: str) -> str:
    if not is_text(key):
        _invalid(path, f"the key {key!r} is of type {kind_of(key, path)}; keys must be str")
    return _text(key, path)


def check_distinct(keys: Iterable[object], path: str) -> None:
    """Raise for a key that comes twice, as in a ``MultiDict``: of its values all but one would be
    lost.

    Args:
        keys: of a mapping.
        path: its place in the event.

    Raises:
        MasivoValidationError: a key comes twice.
    """
    seen: set[object] = set()
    for key in keys:
        if key in seen:
            _invalid(path, f"the key {key!r} is there twice; pass it once, with a list of values")
        seen.add(key)


def _whole(value: int, path: str) -> int:
    try:
        str(value)
    except ValueError:  # Python bounds the digits that it writes (and reads)
        _invalid(path, UNREADABLE)
    return value


def _text(value: object, path: str) -> str:
    text = str.__str__(cast("str", value) if issubclass(type(value), str) else str(value))
    try:
        text.encode()
    except UnicodeEncodeError:
        _invalid(
            path,
            "a lone surrogate cannot be encoded as UTF-8; "
            "decode the text with errors='replace' where it is read",
        )
    return text


def _cure(value: object) -> str:
    kind = value.__class__
    if isinstance(value, bytes | bytearray | memoryview):
        return "; decode it to str"
    if isinstance(value, set | frozenset):
        return "; pass a list (sorted, if order matters)"
    if isinstance(value, timedelta):
        return "; pass its total_seconds()"
    if cure := model_cure(value):
        return cure
    if hasattr(kind, "tolist") and getattr(value, "ndim", None):  # numpy, pandas
        return "; pass its .tolist()"
    if hasattr(kind, "item"):
        return "; pass its .item()"
    return "; pass str, int, float, bool, None, a list or a dict"


def model_cure(value: object) -> str:
    """The way from an object with fields to a dict; empty for any other object."""
    kind = value.__class__
    if hasattr(kind, "model_dump"):  # pydantic
        return "; pass its .model_dump()"
    if hasattr(kind, "__attrs_attrs__"):
        return "; pass attrs.asdict(it)"
    if hasattr(kind, "__struct_fields__"):
        return "; pass msgspec.to_builtins(it)"
    if hasattr(kind, "__dataclass_fields__"):
        return "; pass dataclasses.asdict(it)"
    if hasattr(kind, "_asdict"):  # a named tuple, a row of a database
        return "; pass its ._asdict()"
    return ""


def _invalid(path: str, why: str) -> NoReturn:
    raise MasivoValidationError(f"{path or 'the event'}: {why}")
