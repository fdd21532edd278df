"""The package's logger, and its set-up by ``MASIVO_LOG``."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import Final

__all__ = ["logger"]

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class _Unheard(logging.NullHandler):
    """A NullHandler that prints the warnings that no other handler receives, as Python does for
    loggers without a handler: in a program or a server that never configured logging, a lost event
    would go unnoticed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("masivo: %(message)s"))  # and the traceback, if any

    def handle(self, record: logging.LogRecord) -> bool:
        """Print a warning that no other handler receives."""
        configured = logging.getLogger().handlers or any(
            handler is not self for handler in logger.handlers
        )
        if not configured and record.levelno >= logging.WARNING:
            with suppress(Exception):  # the standard error may be gone
                sys.stderr.write(f"{self.format(record)}\n")
        return True


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
logger.addHandler(_Unheard())
_configure(os.environ.get("MASIVO_LOG", ""))
