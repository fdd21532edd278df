"""An event without a delivery of a caller's: that has ended, or the event was read from a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from masivo._protocol.delivery import Delivery
from masivo._protocol.events.form import BRACE
from masivo._protocol.wire.dates import parse_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from masivo._protocol.delivery import Origin

    from .store import Stored

__all__ = [
    "Kept",
    "customer_of",
    "issued_at_of",
    "left_over",
    "positions_of",
    "read_back",
    "source_of",
]


class Kept(Delivery, gc=False, eq=False, weakref=False):
    """An event without a waiter."""

    source: object = None
    """The adopted log that holds it; None: the client's own."""
    stored: Stored | None = None
    """The event as it was read; None if it was never out of memory."""


class _Fields(msgspec.Struct):
    """The fields of an event that the core reads."""

    customer_id: str = ""
    issued_at: object = None


_decode = msgspec.json.Decoder(_Fields).decode


def source_of(delivery: Delivery) -> object:
    """The adopted log that holds an event; None for the client's own."""
    return delivery.source if isinstance(delivery, Kept) else None


def positions_of(deliveries: Iterable[Delivery]) -> list[int]:
    """The positions of those events that are in a log."""
    return [each.position for each in deliveries if each.position is not None]


def customer_of(stored: Stored) -> str:
    """The customer of an event that was read; empty if it is not a valid event."""
    fields = _fields(stored.event)
    return "" if fields is None else fields.customer_id


def issued_at_of(encoded: bytes) -> float | None:
    """The ``issued_at`` that a caller gave an event, in seconds since the epoch; None if there is
    none, or it is not a time."""
    fields = _fields(encoded)
    text = None if fields is None else fields.issued_at
    return parse_stamp(text) if isinstance(text, str) else None


def _fields(encoded: bytes) -> _Fields | None:
    try:
        return _decode(encoded if encoded[0] == BRACE else b"{" + encoded)
    except (msgspec.DecodeError, IndexError):
        return None


def left_over(delivery: Delivery) -> Kept:
    """The event of a delivery that has ended, to be sent later."""
    return Kept(
        delivery.encoded,
        delivery.at,
        delivery.customer,
        delivery.buffer,
        position=delivery.position,
    )


def read_back(stored: Stored, source: object, at: float, origin: Origin) -> Kept | None:
    """An event that was read from a store, or None if it is not a valid event.

    Args:
        stored: as it was read.
        source: see ``Kept``.
        at: when it was accepted, on the engine's clock.
        origin: the client that sends it.
    """
    event = stored.event
    try:
        fields = _decode(event if event[0] == BRACE else b"{" + event)
    except (msgspec.DecodeError, IndexError):
        return None
    return Kept(
        event,
        at,
        fields.customer_id,
        origin,
        position=stored.position,
        source=source,
        stored=stored,
    )
