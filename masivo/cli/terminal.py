"""What the commands print: results on stdout, all else on stderr.

Nobody reading any more (a closed pipe) is no error: an import must not end because of it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

from masivo._protocol.errors import one_line

__all__ = ["abandon", "color", "fail", "is_live", "note", "printable", "result", "result_json"]


def result(text: str) -> None:
    """A line of the command's result."""
    _print(text, sys.stdout)


def result_json(document: object) -> None:
    """The command's result for scripts: one JSON document in one line."""
    _print(json.dumps(document, default=str), sys.stdout)


def note(text: str) -> None:
    """A line that is no part of the result."""
    _print(text, sys.stderr)


def fail(text: str) -> None:
    """What went wrong. It may quote a server or a file: nothing in it reaches the terminal but
    printable text."""
    prefix = "\x1b[1;31merror:\x1b[0m" if color(sys.stderr) else "error:"
    _print(f"{prefix} {printable(text)}", sys.stderr)


def printable(text: str) -> str:
    """A text that may quote a server or a file, made fit for a terminal, in one line."""
    return one_line(text)


def color(stream: IO[str]) -> bool:
    """Whether to use colour: a terminal that can, and NO_COLOR does not forbid it."""
    return is_live(stream) and not os.environ.get("NO_COLOR")


def is_live(stream: IO[str]) -> bool:
    """Whether it is a terminal on which a line can be drawn anew."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _print(text: str, stream: Any) -> None:
    try:
        print(_encodable(text, stream), file=stream, flush=True)
    except BrokenPipeError:
        abandon(stream)


def abandon(stream: IO[str]) -> None:
    """Write to nowhere from now on: nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _encodable(text: str, stream: Any) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
