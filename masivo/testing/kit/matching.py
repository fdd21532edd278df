"""The comparison of an event with an expectation: does it fit, and if not, how near is it?

An expected value fits a found one if they are equal; or if it is

- a mapping, and each of its fields fits (the found one may have more);
- a list or tuple of the same length, and each item fits;
- a class, and the found value is an instance (``str``, ``int``);
- another callable, and it returns true: ``lambda value: value > 10``;
- a value of a type that JSON lacks (``Decimal``, ``datetime``, ``UUID``, an ``Enum``, ...), and its
  JSON form is equal.

Objects that are equal to many others, such as ``unittest.mock.ANY``, work too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import TYPE_CHECKING, Final, cast

from masivo._protocol.events.plain import convert
from masivo._protocol.json import decode_encoded, encode

if TYPE_CHECKING:
    from masivo.protocol import Json

__all__ = ["MISSING", "Field", "compare", "fits", "nearness"]


class _Missing:
    """The value of a missing field."""


MISSING: Final = _Missing()

_WEIGHTS: Final = {"type": 3.0, "customer_id": 1.5}
"""The weights of fields in the nearness of two events; 1 for all others."""
_MEANT: Final = {
    **dict.fromkeys(("event", "event_type", "name"), "type"),
    **dict.fromkeys(("user_id", "distinct_id", "customer"), "customer_id"),
}
"""Names that other packages use for the fields of an event."""
_HALF: Final = 0.5
_SOMETHING: Final = 0.1


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an expectation, and its value in the event."""

    path: str
    """Its path, such as ``product.tags[2]``."""
    expected: object
    found: object
    """Its value in the event; MISSING if there is none."""
    fits: bool
    note: str = ""
    """A hint: the name of a similar field, or the exception of a predicate."""

    @property
    def nearness(self) -> float:
        """The nearness: from 0, nothing in common, to the field's weight, if it fits."""
        weight = _WEIGHTS.get(self.path, 1.0)
        if self.fits:
            return weight
        if self.found is MISSING:
            return 0.0
        if isinstance(self.expected, str) and isinstance(self.found, str):
            return weight * _HALF * SequenceMatcher(None, self.expected, self.found).ratio()
        return weight * _SOMETHING


def fits(expected: Mapping[str, object], event: Mapping[str, Json]) -> bool:
    """Return whether an event has all these fields."""
    return all(field.fits for field in compare(expected, event))


def nearness(fields: Sequence[Field]) -> float:
    """Return how near an event is to an expectation: the higher, the nearer."""
    return sum(field.nearness for field in fields)


def compare(
    expected: Mapping[str, object], found: Mapping[str, object], path: str = ""
) -> list[Field]:
    """Return the comparison field by field, including nested ones."""
    fields: list[Field] = []
    for name, value in expected.items():
        where = f"{path}.{name}" if path else name
        if name in found:
            fields += _compare_value(value, found[name], where)
        else:
            fields.append(Field(where, value, MISSING, fits=False, note=_meant(name, found)))
    return fields


def _meant(name: str, found: Mapping[str, object]) -> str:
    outer, _, inner = name.replace("__", ".").partition(".")  # as a query of Django has it
    if inner and _fields(found.get(outer)) is not None:
        return f"write {outer}={{{inner!r}: …}}"
    if name == "times":  # as fail() of the emulator has it
        return "for the number of events write count=…"
    usual = _MEANT.get(name)
    close = [usual] if usual in found else get_close_matches(name, found, n=1, cutoff=0.75)
    return f"did you mean {close[0]!r}?" if close else ""


def _compare_value(expected: object, found: object, path: str) -> Iterator[Field]:
    inner, outer = _fields(expected), _fields(found)
    if inner == {} and outer is not None:
        yield Field(path, expected, found, fits=True)
    elif inner and outer is not None:
        yield from compare(inner, outer, path)
    elif (items := _items(expected)) and (values := _items(found)) and len(items) == len(values):
        for index, (item, value) in enumerate(zip(items, values, strict=True)):
            yield from _compare_value(item, value, f"{path}[{index}]")
    else:
        good, note = _is_fit(expected, found)
        yield Field(path, expected, found, fits=good, note=note)


def _fields(value: object) -> Mapping[str, object] | None:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else None


def _items(value: object) -> list[object]:
    return list(cast("Sequence[object]", value)) if isinstance(value, list | tuple) else []


def _is_fit(expected: object, found: object) -> tuple[bool, str]:
    if _equal(expected, found):
        return True, ""
    if isinstance(expected, type):
        return isinstance(found, expected) and (
            expected is bool or not isinstance(found, bool) or expected is object
        ), ""
    if callable(expected):
        try:
            return bool(cast("Callable[[object], object]", expected)(found)), ""
        except Exception as error:  # noqa: BLE001 (a function of the test can raise anything)
            return False, f"the predicate raised {type(error).__name__}: {error}"
    with suppress(Exception):  # it cannot be sent
        return _equal(decode_encoded(encode(convert(expected, "", []))), found), ""
    return False, ""


def _equal(expected: object, found: object) -> bool:
    # 1 == True in Python, but not in JSON.
    if type(expected) in (int, float, bool) and isinstance(expected, bool) != isinstance(
        found, bool
    ):
        return False
    with suppress(Exception):  # an `__eq__` of the test can raise anything
        return bool(expected == found)
    return False
