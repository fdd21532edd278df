"""Conversion of lines to events: JSON Lines, CSV, and the records of a file of rejected events."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from masivo.cli.exits import UsageError
from masivo.cli.fields import parse_assignments, put_default

from . import table
from .lines import LONGEST_LINE, DamagedInputError
from .numbers import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from masivo.cli.fields import Path

    from .lines import Lines

__all__ = ["Record", "Shape", "read"]

REJECTED: Final = "rejected"
"""The key that marks the record of a rejected event; the record also has one of the next three."""
EVENT: Final = "event"
TEXT: Final = "text"
ROW: Final = "row"
MAP: Final = "map"
DEFAULTS: Final = "defaults"


@dataclass(slots=True)
class Record:
    """The content of a line, or of several lines in a CSV file."""

    line: int
    """Its first line, from 1."""
    end: int
    """Its last line."""
    crc: int
    """The CRC-32 of all lines of the input up to its end (``Lines.crc``)."""
    size: int
    """Its size in bytes."""
    skip: bool = False
    """True if an earlier run has accounted for it; it is not parsed then."""
    event: object = None
    """The event; anything but a dict is invalid."""
    problem: str | None = None
    """The reason why there is no event."""
    torn: bool = False
    """True if it is invalid perhaps because it is still being written: it is not all of a line of a
    file."""
    rest: dict[str, object] = field(default_factory=dict[str, object])
    """The parts to keep if there is no event."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of the input: the options that turn lines into events."""

    format: str
    """``jsonl`` or ``csv``."""
    delimiter: str = ","
    encoding: str = "utf-8"
    quote: bool | None = field(default=None, compare=False)
    """True if quotation marks enclose values; None: they do, but not in tab-separated files."""
    rules: tuple[str, ...] = ()
    """``--map``, as given."""
    defaults: tuple[str, ...] = ()
    """``-d``, as given."""
    brand: str | None = None
    no_brand: bool = False
    guessed: bool = field(default=False, compare=False)
    """True if the format was derived from the file's name alone."""

    def assignments(self) -> list[str]:
        """Return the default fields of every event, as KEY=VALUE."""
        if self.brand is None and not self.no_brand:
            return list(self.defaults)
        return [*self.defaults, f"brand_id={json.dumps(self.brand)}"]


def read(lines: Lines, shape: Shape, done: Callable[[int], bool]) -> Iterator[Record]:
    """Yield the records of the input.

    Args:
        lines: the input, at its beginning.
        shape: the form of the lines.
        done: returns whether the record that ends with this line is accounted for. Such a
            record is not parsed.

    Raises:
        UsageError: the file as a whole does not fit the shape.
        DamagedInputError: it cannot be read to its end.
    """
    assignments = shape.assignments()
    defaults = parse_assignments(assignments)
    records = _rows(lines, shape, done) if shape.format == "csv" else _objects(lines, shape, done)
    if not defaults:
        yield from records
        return
    for record in records:
        _fill_in(record.event, defaults)
        if record.rest:  # it must mean the same when imported without the options
            record.rest.setdefault(DEFAULTS, assignments)
        yield record


def _fill_in(event: object, defaults: list[tuple[Path, object]]) -> None:
    if isinstance(event, dict):
        for path, value in defaults:
            put_default(cast("dict[str, object]", event), path, value)


# ── JSON Lines ───────────────────────────────────────────────────────────────────────────────


def _objects(lines: Lines, shape: Shape, done: Callable[[int], bool]) -> Iterator[Record]:
    first = True
    for line in lines:
        number = lines.number
        record = Record(number, number, lines.crc, len(line))
        if done(number):
            first = False
            record.skip = True
            yield record
            continue
        if len(line) > LONGEST_LINE:
            record.problem = f"the line is longer than {LONGEST_LINE >> 20} MiB; it is not kept"
            yield record
            continue
        if line.isspace():
            continue
        if first:
            _check_first(line, guessed=shape.guessed)
            first = False
        try:
            record.event = decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            record.problem = f"this is not JSON: {error}"
            record.torn = lines.is_torn(line)
            record.rest = {TEXT: line.decode("utf-8", "replace").rstrip("\r\n")}
        else:
            event = record.event
            if event.__class__ is dict and REJECTED in cast("dict[str, object]", event):
                _unwrap(record)
        yield record


def _check_first(line: bytes, *, guessed: bool) -> None:
    start = line.strip()
    if start.startswith(b"["):
        raise UsageError(
            "this is a JSON array, and not JSON Lines, which have an event in every line. "
            "Convert it: jq -c '.[]' FILE | masivo import -"
        )
    if guessed and not start.startswith(b"{"):
        raise UsageError(
            "its first line is not a JSON object, and JSON Lines have one in every line. For CSV "
            "add --format csv; if it is JSON Lines nevertheless, add --format jsonl"
        )
    if start == b"{":
        raise UsageError(
            "this is JSON over several lines, and not JSON Lines, which have an event in every "
            "line. Convert it: jq -c . FILE | masivo import -"
        )


_KEYS: Final = {REJECTED, EVENT, TEXT, ROW, MAP, DEFAULTS}


def _unwrap(record: Record) -> None:
    """Extract the event from the record of a rejected event, if this is such a record."""
    whole = cast("dict[str, Any]", record.event)
    kept = [key for key in (EVENT, TEXT, ROW) if key in whole]
    if not isinstance(whole[REJECTED], dict) or set(whole) - _KEYS:
        return  # an ordinary event that has a field of this name
    if len(kept) != 1:
        record.event = None
        record.problem = (
            "the record of a rejected event must hold one of event, text and row; "
            f"this one holds {' and '.join(kept) or 'none: take the line from the original file'}"
        )
        record.rest = {key: whole[key] for key in kept}
        return
    record.event = None
    record.rest = {key: value for key, value in whole.items() if key != REJECTED}
    try:
        record.event = _kept_event(kept[0], whole)
        _fill_in(record.event, parse_assignments(whole.get(DEFAULTS, ())))
    except msgspec.DecodeError as error:
        record.problem = f"text is not JSON: {error}"
    except (UsageError, ValueError, RecursionError, TypeError, AttributeError) as error:
        record.event = None
        record.problem = f"the record of a rejected event: {error}"
    else:
        record.rest = {}


def _kept_event(kind: str, whole: dict[str, Any]) -> object:
    if kind == EVENT:
        return whole[EVENT]
    if kind == TEXT:
        return decode(str(whole[TEXT]))
    return table.to_event(whole[ROW], table.columns_of(tuple(whole.get(MAP, ()))))


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────


_REQUIRED: Final = {
    "type": "--map type=COLUMN (or -d type=TYPE, if it is the same for all)",
    "customer_id": "--map customer_id=COLUMN",
    "brand_id": "--no-brand (or --brand ID, or --map brand_id=COLUMN)",
}
"""The fields that every event needs, and the options that give them."""


def _check_header(header: list[str], columns: list[table.Column], shape: Shape) -> None:
    """Raise UsageError for a header that was probably meant differently."""
    option = table.delimiter_for(header)
    if option and not shape.rules:  # a rule that names the column means it
        raise UsageError(f"the header is one column, {header[0]!r}: if it is several, add {option}")
    given = {path for path, _ in parse_assignments(shape.assignments())}
    given |= {column.path for column in columns}
    missing = [name for name in _REQUIRED if (name,) not in given]
    if missing:
        cures = (f"--map {name}={name}" if name in header else _REQUIRED[name] for name in missing)
        raise UsageError(
            f"every event needs {_listed(missing)}, and nothing says where "
            f"{'it comes' if len(missing) == 1 else 'they come'} from. "
            f"Add {', and '.join(cures)}. The columns of the file are: {', '.join(header)}"
        )


def _listed(names: Sequence[str]) -> str:
    """The names as in a sentence."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


class _TextLines:
    """The text of one row, line by line, for the csv module."""

    def __init__(self, lines: Lines, encoding: str) -> None:
        self._lines = lines
        self._encoding = encoding
        self.begin()

    def begin(self) -> None:
        """Begin a new row."""
        self.first = self._lines.number + 1
        self.size = 0
        self.text: list[str] = []
        self.torn = False
        self.damage: str | None = None

    def __iter__(self) -> _TextLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.size += len(line)
        self.torn = self._lines.is_torn(line)
        if self.size > LONGEST_LINE:
            raise self.not_closed()
        try:
            text = line.decode(self._encoding)
        except UnicodeDecodeError as error:
            self.damage = f"this is not {self._encoding}: {error.reason}; see --encoding"
            text = line.decode(self._encoding, "replace")
        self.text.append(text)
        return text

    def looks_like_rows(self, delimiter: str, columns: int) -> bool:
        """Return whether the row is of several lines, each of which could be a row of this many
        columns: two quotation marks that are text may have made one of them."""
        counts = {line.count(delimiter) for line in self.text}
        return len(self.text) > 1 and columns > 1 and counts == {columns - 1}

    def not_closed(self) -> DamagedInputError:
        """Return the error for a row of several lines that is not CSV, or is too long: it takes up
        rows that were meant to be others."""
        inside, opened = False, self.first
        for number, line in enumerate(self.text, self.first):
            if line.count('"') % 2:
                inside = not inside
                opened = number if inside else opened
        return DamagedInputError(
            f"the quotation mark that opens a value in line {opened} is not closed as CSV needs it "
            f"(found in line {self._lines.number}). Correct line {opened}; or, if quotation marks "
            "are text in this file, add --no-quote"
        )


def _reason(error: csv.Error) -> str:
    """Return in our words what is wrong with a line of a CSV file."""
    text = str(error)
    if "expected after" in text:
        return (
            "text follows a closing quotation mark. Within a value in quotation marks, one is "
            "written twice; if they are text in this file, add --no-quote"
        )
    if "unexpected end of data" in text:
        return "a quotation mark is not closed; if they are text in this file, add --no-quote"
    if "new-line character" in text:
        return "there is a carriage return within the line; a value with one needs quotation marks"
    return text


def _rows(lines: Lines, shape: Shape, done: Callable[[int], bool]) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_LINE)
    text = _TextLines(lines, shape.encoding)
    first = next(text, "")
    named = re.fullmatch(r'"?sep=([^"\r\n])"?\r?\n?', first, re.IGNORECASE)  # for Excel
    delimiter = named[1] if named else shape.delimiter
    quoted = delimiter != "\t" if shape.quote is None else shape.quote
    reader = csv.reader(
        text if named else chain([first], text),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    header = _read_header(reader, text, quoted=quoted)
    if not header:
        return
    columns = table.find_columns(header, shape.rules)
    _check_header(header, columns, shape)
    rules = [table.rule_of(column) for column in columns]
    while True:
        text.begin()
        line, row, problem = lines.number + 1, list[str](), None
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.number > line:
                raise text.not_closed() from None
            problem = f"this is not CSV: {_reason(error)}"
        record = Record(line, lines.number, lines.crc, text.size)
        if done(record.end):
            record.skip = True
            yield record
            continue
        if shape.quote is None and text.looks_like_rows(delimiter, len(header)):
            raise DamagedInputError(
                f"lines {line} to {record.end} are one row, as quotation marks enclose a value of "
                "several lines, but each looks like a row of its own. Add --no-quote if quotation "
                "marks are text in this file, --quote if it is one row"
            )
        problem = problem or text.damage
        # Of cells that are all there, only the last may be incomplete; it is looked at if empty.
        record.torn = text.torn and (len(row) < len(header) or not row[-1])
        if problem is not None:
            record.problem = problem
            record.rest = {ROW: {table.LEFT_OVER: ["".join(text.text)]}, MAP: rules}
            yield record
        elif row:
            values = _values(header, row)
            try:
                record.event = table.to_event(values, columns)
            except table.BadRowError as error:
                record.problem = str(error)
                record.rest = {ROW: values, MAP: rules}
            yield record


def _read_header(reader: Iterator[list[str]], text: _TextLines, *, quoted: bool) -> list[str]:
    """Return the names of the columns; empty if the file has no header.

    Raises:
        UsageError: the header is damaged, or was probably meant differently.
    """
    header: list[str] = []
    while not header:
        try:
            header = next(reader)
        except StopIteration:
            return []
        except csv.Error as error:
            raise UsageError(f"the header is not CSV: {_reason(error)}") from None
    if text.damage:
        raise UsageError(f"the header: {text.damage}")
    if not quoted and any(len(name) > 1 and name[0] == name[-1] == '"' for name in header):
        raise UsageError(
            f"the names in the header are in quotation marks, {', '.join(header)}, which are taken "
            "for text in a tab-separated file: if they enclose values in this one, add --quote"
        )
    return header


def _values(header: list[str], row: list[str]) -> dict[str, object]:
    """Return the values of a row by column, as rejected rows are written."""
    values: dict[str, object] = dict(zip(header, row, strict=False))
    if len(row) > len(header):
        values[table.LEFT_OVER] = row[len(header) :]
    return values
