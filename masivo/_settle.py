"""The package's logger, its set-up by ``MASIVO_LOG``, and settling with it."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from masivo import protocol
from masivo.protocol import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Output

__all__ = ["Waiters", "logger", "settle", "unseen"]

_MAX_UNSEEN: Final = 5
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class _Unseen(logging.NullHandler):
    """A NullHandler that keeps warnings that no other handler received.

    In a program that never configured logging, a lost event would go unnoticed. So the first few
    different warnings are printed to the standard error when the interpreter exits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[str, None] = {}
        self._late = False  # from now on warnings are printed at once

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep a warning that no other handler receives."""
        configured = logging.getLogger().handlers or any(
            handler is not self for handler in logger.handlers
        )
        unseen = not configured and record.levelno >= logging.WARNING
        if unseen and len(self._lines) < _MAX_UNSEEN:
            self._lines[record.getMessage()] = None
            if self._late:
                self.print()
        return True

    def print(self) -> None:
        """Print the kept warnings."""
        self._late = True
        for line in list(self._lines):
            if self._lines.pop(line, line) is None:  # no other thread prints it
                with suppress(Exception):  # the standard error may be gone by now
                    sys.stderr.write(f"masivo: {line}\n")


class _Terminal(logging.Handler):
    """A handler that prints to the standard error the records that the application does not print.

    It looks the standard error up for each line, as test runners and shells put others in its
    place, and close them; to a closed one it prints nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(
            logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
        )
        self.addFilter(self._is_unprinted)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        with suppress(Exception):
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()

    def _is_unprinted(self, record: logging.LogRecord) -> bool:
        """Return whether no other handler prints this record, so that it is printed only once."""
        node: logging.Logger | None = logger
        while node is not None:
            for other in node.handlers:
                prints = getattr(other, "stream", None) in (sys.stderr, sys.stdout)
                if prints and other is not self and record.levelno >= other.level:
                    return False
            node = node.parent if node.propagate else None
        return True


def _configure(value: str) -> None:
    """Print records to the standard error from the level in ``MASIVO_LOG`` on.

    An invalid value only logs a warning: a slip in a debugging aid must not stop a program.
    """
    level = _LEVELS.get(value.strip().lower())
    if value.strip():
        logger.addHandler(_Terminal())
    if level is not None:
        logger.setLevel(level)
    elif value.strip():
        logger.warning("MASIVO_LOG must be one of %s; it is ignored", ", ".join(_LEVELS))


logger: Final = logging.getLogger("masivo")
unseen: Final = _Unseen()
logger.addHandler(unseen)
_configure(os.environ.get("MASIVO_LOG", ""))
# Registered before the flush of open clients at exit, and so called after it.
atexit.register(unseen.print)


def settle(
    output: Output, waiters: Waiters, start: Callable[[Callable[[], None]], object] | None = None
) -> None:
    """``protocol.settle`` with the package's logger."""
    if start is None:
        protocol.settle(output, logger, waiters)
    else:
        protocol.settle(output, logger, waiters, start)
