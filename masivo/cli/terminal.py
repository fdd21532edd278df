"""Output of the commands: results on stdout, everything else on stderr.

A closed pipe is not an error: an import must not end because its output is closed.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

from masivo._protocol.errors import one_line

__all__ = ["abandon", "color", "fail", "is_live", "note", "printable", "result", "result_json"]


def result(text: str) -> None:
    """Print a line of the command's result."""
    _print(text, sys.stdout)


def result_json(document: object) -> None:
    """Print the command's result for scripts: one JSON document in one line."""
    _print(json.dumps(document, default=str), sys.stdout)


def note(text: str) -> None:
    """Print a line that is not part of the result."""
    _print(text, sys.stderr)


def fail(text: str) -> None:
    """Print what went wrong. It may quote a server or a file, so only printable text is printed."""
    prefix = "\x1b[1;31merror:\x1b[0m" if color(sys.stderr) else "error:"
    _print(f"{prefix} {printable(text)}", sys.stderr)


def printable(text: str) -> str:
    """Return a text that may quote a server or a file as one line, safe for a terminal."""
    return one_line(text)


def color(stream: IO[str]) -> bool:
    """Return whether to use colour: on a capable terminal, unless NO_COLOR is set."""
    return is_live(stream) and not os.environ.get("NO_COLOR")


def is_live(stream: IO[str]) -> bool:
    """Return whether it is a terminal that can redraw a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _print(text: str, stream: Any) -> None:
    try:
        print(_encodable(text, stream), file=stream, flush=True)
    except BrokenPipeError:
        abandon(stream)


def abandon(stream: IO[str]) -> None:
    """Redirect a closed stream to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _encodable(text: str, stream: Any) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
