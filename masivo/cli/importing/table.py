"""Conversion of a row of a CSV file to an event."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Final

from masivo._protocol.wire.schema import FLAG, NUMBER, kind_at
from masivo.cli.exits import UsageError
from masivo.cli.fields import check_paths, parse_path, put

from .numbers import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from masivo.cli.fields import Path

__all__ = [
    "LEFT_OVER",
    "BadRowError",
    "Column",
    "delimiter_for",
    "find_columns",
    "parse_map",
    "to_event",
]

LEFT_OVER: Final = "?"
"""In a rejected row: the values that belong to no column."""


class BadRowError(ValueError):
    """A row that makes no event; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Column:
    """The source of a field's value."""

    path: Path
    """The field."""
    name: str
    """The column's name in the header."""
    kind: str
    """The conversion of its text: a key of KINDS."""


def _number(text: str) -> object:
    value: object = decode(text)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError  # noqa: TRY004 (as for invalid JSON)
    return value


def _bool(text: str) -> object:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
        text.lower()
    ]


KINDS: Final[dict[str, Callable[[str], object]]] = {
    "text": str,
    "number": _number,
    "bool": _bool,
    "json": decode,
}

_EXPECTED_BY_API: Final = {NUMBER: "number", FLAG: "bool"}

_EXPECTED: Final = {
    "number": "a number such as 1234.5 (identifiers with leading zeros are text)",
    "bool": "one of true, false, yes, no, 1, 0",
    "json": "JSON",
}


def parse_map(rule: str) -> Column:
    """Return the column of a rule ``FIELD=COLUMN[:KIND]``.

    Raises:
        UsageError: it is not such a rule.
    """
    field, equals, source = rule.partition("=")
    if not equals or not source:
        raise UsageError(
            f"--map {rule!r}: write FIELD=COLUMN or FIELD=COLUMN:KIND, such as "
            f"--map product.value=price:number; a KIND is one of {', '.join(KINDS)}"
        )
    name, kind = _split(source)
    return _column(field, name, kind)


def _split(source: str) -> tuple[str, str | None]:
    name, colon, kind = source.rpartition(":")
    return (name, kind) if colon and kind in KINDS else (source, None)


def _column(field: str, name: str, kind: str | None) -> Column:
    path = parse_path(field)
    if kind is None:
        expected = kind_at(path)
        kind = "text" if expected is None else _EXPECTED_BY_API.get(expected, "text")
    return Column(path, name, kind)


def find_columns(header: Sequence[str], rules: Sequence[str]) -> list[Column]:
    """Return the columns of the rules; without rules, all, each as the field of its name.

    A name in the header may give a kind: ``price:number``.

    Raises:
        UsageError: a rule names a column that the header does not have, or has twice.
    """
    if not rules:
        columns = [_column(_split(name)[0], name, _split(name)[1]) for name in header]
    else:
        columns = [parse_map(rule) for rule in rules]
    check_paths([column.path for column in columns], "--map" if rules else "the header")
    for column in columns:
        count = header.count(column.name)
        if count != 1:
            has = "has no column" if count == 0 else f"has {count} columns"
            raise UsageError(
                f"the file {has} {column.name!r}; its header is: {', '.join(header)}"
                + ("" if count else _meant(column, header))
            )
    return columns


def _meant(column: Column, header: Sequence[str]) -> str:
    """Return advice for a rule that names a column which the header does not have."""
    if option := delimiter_for(header):
        return f". If that is several columns, add {option}"
    if ":" in column.name:
        return f". A KIND is one of {', '.join(KINDS)}"
    field = ".".join(column.path)
    if field in header:
        return f". A rule is FIELD=COLUMN: did you mean --map {column.name}={field}?"
    close = get_close_matches(column.name.lower(), [name.lower() for name in header], n=1)
    return "".join(f". Did you mean {name!r}?" for name in header if name.lower() in close)


def delimiter_for(header: Sequence[str]) -> str:
    """Return the option that splits a header of one column into several; empty if none does."""
    found = next((each for each in ";\t|," if len(header) == 1 and each in header[0]), None)
    if found is None:
        return ""
    return "--delimiter tab" if found == "\t" else f"--delimiter '{found}'"


@cache
def columns_of(rules: tuple[str, ...]) -> list[Column]:
    """Return the columns of a rejected row, which contains its own rules."""
    return [parse_map(rule) for rule in rules]


def rule_of(column: Column) -> str:
    """Return the complete rule of a column."""
    return f"{'.'.join(column.path)}={column.name}:{column.kind}"


def to_event(row: Mapping[str, object], columns: Sequence[Column]) -> dict[str, object]:
    """Return the event of a row. An empty cell is a missing field.

    Raises:
        BadRowError: a value is missing, too many, or not of its column's kind.
    """
    if LEFT_OVER in row:
        raise BadRowError(
            "the row has more values than the header has columns (in the file of rejected events "
            f"they are under {LEFT_OVER!r}): quote a value that contains the delimiter"
        )
    event: dict[str, object] = {}
    for column in columns:
        text = row.get(column.name)
        if text is None:
            raise BadRowError(f"the row has no value for the column {column.name!r}")
        if text == "":
            continue
        try:
            value = KINDS[column.kind](str(text))
        except (ValueError, KeyError, RecursionError):
            raise BadRowError(
                f"column {column.name!r}: {str(text)[:100]!r} is not {_EXPECTED[column.kind]}"
            ) from None
        put(event, column.path, value)
    return event
