"""The standard streams of the program: a failing stream does not stop a command.

A pipe is closed, a terminal goes away, a disk is full: output that cannot be written is dropped,
the command runs to its end, and the exit code gives its result. ``loss_of_output`` is for commands
whose result is the output.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any

__all__ = ["loss_of_output", "open_streams"]


class _Output(io.FileIO):
    full: str | None = None
    """Why output was dropped that a reader still waits for; None: none was."""

    def write(self, data: Any, /) -> int:
        """Write, or drop what cannot be written; return the number of bytes."""
        try:
            while (written := super().write(data)) is None:  # another program made it non-blocking
                select.select([], [self], [])
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.full = error.strerror
            return memoryview(data).nbytes
        return written


def loss_of_output() -> str | None:
    """Why the standard output is incomplete, although it is still read; None if it is not."""
    raw = getattr(sys.stdout.buffer, "raw", None)
    return raw.full if isinstance(raw, _Output) else None


def open_streams() -> None:
    """Replace the standard streams; a missing one (``<&-``) by the null device.

    The null device takes the stream's number, which otherwise the next opened file would have.
    """
    if sys.stdin is None:
        nothing = io.FileIO(os.open(os.devnull, os.O_RDONLY), closefd=False)
        sys.stdin = io.TextIOWrapper(io.BufferedReader(nothing), "utf-8")
    for name in ("stdout", "stderr"):
        stream: io.TextIOWrapper | None = getattr(sys, name)
        number = os.open(os.devnull, os.O_WRONLY) if stream is None else stream.fileno()
        raw = _Output(number, "wb", closefd=False)
        text = io.TextIOWrapper(
            io.BufferedWriter(raw),
            "utf-8" if stream is None else stream.encoding,
            errors="backslashreplace",
            line_buffering=True,
        )
        setattr(sys, name, text)
