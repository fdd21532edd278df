"""The package's logger, and settling with it."""

from __future__ import annotations

import atexit
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from masivo import protocol
from masivo.protocol import Waiters

if TYPE_CHECKING:
    from masivo.protocol import Output

__all__ = ["Waiters", "logger", "settle", "unseen"]

_MOST_UNSEEN: Final = 5


class _Unseen(logging.NullHandler):
    """Logs nothing, as befits a library, but keeps what nobody saw.

    In a program that never configured logging, a lost event would pass in silence. So the first
    few different warnings are printed to the standard error when the interpreter exits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[str, None] = {}

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep a record that no other handler takes."""
        configured = logging.getLogger().handlers or any(
            handler is not self for handler in logger.handlers
        )
        unseen = not configured and record.levelno >= logging.WARNING
        if unseen and len(self._lines) < _MOST_UNSEEN:
            self._lines[record.getMessage()] = None
        return True

    def print(self) -> None:
        """Print what was kept."""
        lines, self._lines = self._lines, {}
        for line in lines:
            with suppress(Exception):  # the standard error may be gone by now
                sys.stderr.write(f"masivo: {line}\n")


logger: Final = logging.getLogger("masivo")
unseen: Final = _Unseen()
logger.addHandler(unseen)
# Registered before the flush of open clients at exit, and so called after it.
atexit.register(unseen.print)


def settle(output: Output, waiters: Waiters) -> None:
    """Hand an output's outcomes on. Call it outside every lock."""
    protocol.settle(output, logger, waiters)
