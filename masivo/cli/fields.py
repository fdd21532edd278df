"""Event fields given as text: ``-d product.sku=A1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from masivo._protocol.json import NOT_JSON, parse

from .exits import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Path", "check_paths", "parse_assignments", "parse_path", "put", "put_default", "utf8"]

Path = tuple[str, ...]
"""The names that lead to a field: ``("product", "sku")``."""


def utf8(text: str) -> str:
    """Return a text of the command line that is to become part of an event.

    Raises:
        UsageError: it was not UTF-8 (such bytes arrive as lone surrogates).
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{text!r} is not valid UTF-8, as an event must be: convert it, for example with iconv"
        ) from None
    return text


def parse_path(text: str) -> Path:
    """Return the path of a dotted name.

    Raises:
        UsageError: a part of it is empty.
    """
    path = tuple(text.split("."))
    if not all(path):
        raise UsageError(f"{text!r} is not the name of a field: write it like product.sku")
    return path


def parse_assignments(given: Iterable[str]) -> list[tuple[Path, object]]:
    """Return the fields and values of ``KEY=VALUE`` texts; a value is JSON if possible, else text.

    Raises:
        UsageError: one has no ``=``, or two of them name the same field.
    """
    assignments: list[tuple[Path, object]] = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"-d {text!r}: write KEY=VALUE, such as -d product.sku=A1")
        assignments.append((parse_path(name), _value(value)))
    check_paths([path for path, _ in assignments], "-d")
    return assignments


def _value(text: str) -> object:
    value = parse(text.encode()) if text else NOT_JSON
    return text if value is NOT_JSON else value


def check_paths(paths: list[Path], option: str) -> None:
    """Raise UsageError for fields that are given twice, or one of which contains another."""
    for index, path in enumerate(paths):
        for other in paths[:index]:
            shorter = min(len(path), len(other))
            if path[:shorter] == other[:shorter]:
                raise UsageError(
                    f"{option} gives {'.'.join(other)} and {'.'.join(path)}: "
                    "one of them would hide the other"
                )


def put(event: dict[str, object], path: Path, value: object) -> None:
    """Set a field; its parents must be objects, or missing."""
    for name in path[:-1]:
        event = cast("dict[str, object]", event.setdefault(name, {}))
    event[path[-1]] = value


def put_default(event: dict[str, object], path: Path, value: object) -> None:
    """Set a field that the event does not have; do nothing if a parent is not an object."""
    for name in path[:-1]:
        inner = event.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        event = cast("dict[str, object]", inner)
    event.setdefault(path[-1], value)
