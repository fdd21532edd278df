"""The package's logger, and settling with it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from masivo import protocol
from masivo.protocol import Waiters

if TYPE_CHECKING:
    from masivo.protocol import Output

__all__ = ["Waiters", "logger", "settle"]

logger: Final = logging.getLogger("masivo")
logger.addHandler(logging.NullHandler())


def settle(output: Output, waiters: Waiters) -> None:
    """Hand an output's outcomes on. Call it outside every lock."""
    protocol.settle(output, logger, waiters)
