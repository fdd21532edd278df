"""The dead letters of a fleet: events that the API rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from masivo.protocol import RejectedEvent, Secret
from masivo.spool.rejected import rejected_line

from .connection import Connections
from .scripts import Keys
from .store import RelayError, StoreUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["dead_letters"]

READ: Final = 500
"""The number of letters that are read together."""


def dead_letters(url: str, name: str) -> Iterator[bytes]:
    """Yield the dead letters of a fleet, the oldest first, as lines of JSON Lines, which
    ``masivo import`` takes.

    Args:
        url: Redis'.
        name: of the fleet.

    Raises:
        RelayError: the URL is invalid, or Redis does not respond.
    """
    address = Secret(url)
    del url
    redis = Connections(address).blocking()
    key, after = Keys(name, 0).rejected, "-"
    try:
        while rows := redis.call("XRANGE", key, after, "+", "COUNT", READ):
            for _, fields in rows:
                status = int(fields[b"s"]) or None
                reason = fields[b"r"].decode(errors="replace")
                letter = RejectedEvent(fields[b"e"], reason, status, float(fields[b"a"]))
                yield rejected_line(letter).rstrip(b"\n")
            after = f"({rows[-1][0].decode()}"
    except StoreUnreachableError as error:
        raise RelayError(f"the dead letters cannot be read: {error}") from None
    finally:
        redis.close()
