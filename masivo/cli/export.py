"""Writes JSON Lines to a file or to standard output."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from . import terminal
from .exits import Exit, UsageError
from .streams import loss_of_output

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["export"]


def export(lines: Iterable[bytes], name: str, what: str, as_json: bool) -> Exit:
    """Write lines to a file that does not exist yet, or to standard output."""
    if name == "-":
        written = 0
        for line in lines:
            sys.stdout.buffer.write(line + b"\n")
            written += 1
        sys.stdout.buffer.flush()
        if (why := loss_of_output()) is not None:
            raise UsageError(f"standard output is incomplete: {why}. Write to a disk with room")
        if not written:
            terminal.note(f"There is no {what}.")
        return Exit.GOOD
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{name} exists already: move it away, or name another file") from None
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror or error}") from None
    written = 0
    try:
        with os.fdopen(fd, "wb") as file:
            for line in lines:
                file.write(line + b"\n")
                written += 1
    except OSError as error:
        raise UsageError(
            f"{name} is incomplete: {error.strerror or error}. Delete it, and name a file elsewhere"
        ) from None
    if as_json:
        terminal.result_json({"complete": True, "events": written, "file": name})
    else:
        terminal.result(f"{terminal.count(written, what)} written to {name}.")
    return Exit.GOOD
