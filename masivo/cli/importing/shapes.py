"""The shape of a file by its name and the options: format, delimiter, encoding."""

from __future__ import annotations

from pathlib import Path

from masivo.cli.exits import UsageError

from .records import Shape

__all__ = ["check_encoding", "delimiter_of", "format_of", "plain_shape"]


def format_of(name: str) -> str:
    """Return the format of a file of this name."""
    return "csv" if _suffix(name) in (".csv", ".tsv") else "jsonl"


def _suffix(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix.lower()


def delimiter_of(name: str, delimiter: str | None) -> str:
    """Return the delimiter option, or the default for a file of this name."""
    if delimiter is None:
        return "\t" if _suffix(name) == ".tsv" else ","
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError("--delimiter is one character, or 'tab'")
    return delimiter


def check_encoding(encoding: str) -> None:
    """Refuse an encoding that is unknown, or whose line feeds are not single bytes."""
    try:
        if "\n".encode(encoding) != b"\n":
            raise UsageError(
                f"--encoding {encoding}: leave it out where the file begins with a byte order "
                "mark; else convert the file to UTF-8 (with iconv)"
            )
    except LookupError:
        raise UsageError(f"there is no encoding {encoding!r}") from None


def plain_shape(name: str) -> Shape:
    """Return the shape of a file of this name without any option."""
    return Shape(format_of(name), delimiter_of(name, None))
