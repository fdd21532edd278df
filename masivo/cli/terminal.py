"""Output of the commands: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import IO

from masivo._protocol.errors import one_line

__all__ = ["color", "count", "fail", "is_live", "note", "printable", "result", "result_json"]


def result(text: str) -> None:
    """Print a line of the command's result."""
    print(text, flush=True)


def result_json(document: object) -> None:
    """Print the command's result for scripts: one JSON document in one line."""
    result(json.dumps(document, default=str))


def note(text: str) -> None:
    """Print a line that is not part of the result."""
    print(text, file=sys.stderr)


def fail(text: str) -> None:
    """Print what went wrong. It may quote a server or a file, so only printable text is printed."""
    prefix = "\x1b[1;31merror:\x1b[0m" if color(sys.stderr) else "error:"
    note(f"{prefix} {printable(text)}")


def count(number: int, what: str) -> str:
    """Return a number of things as words."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return a text that may quote a server or a file as one line, safe for a terminal."""
    return one_line(text)


def color(stream: IO[str]) -> bool:
    """Return whether to use colour: on a capable terminal, unless NO_COLOR is set."""
    return is_live(stream) and not os.environ.get("NO_COLOR")


def is_live(stream: IO[str]) -> bool:
    """Return whether it is a terminal that can redraw a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
