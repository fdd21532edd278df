"""The ``issued_at`` of events that have none.

The rules: ``docs/reference/guarantees.md#issued_at``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from masivo._protocol.events.form import BRACE, STAMP, opening
from masivo._protocol.sending.server_clock import DOUBT
from masivo._protocol.storage.kept import Kept, issued_at_of
from masivo._protocol.wire.dates import STAMP_LENGTH, format_stamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masivo._protocol.delivery import Delivery
    from masivo._protocol.sending.server_clock import ServerClock

    from .batch import Part

__all__ = ["Stamper", "stamps_of", "with_stamps"]

STARTS: Final = 1_000
"""About the most stamps of stored events that are kept for further batches."""


def stamps_of(deliveries: Sequence[Delivery], events: Sequence[bytes]) -> bytes:
    """The stamps that were put into events, one after another, for ``with_stamps``."""
    pairs = zip(deliveries, events, strict=True)
    return b"".join([event[STAMP] for each, event in pairs if each.encoded[0] != BRACE])


def with_stamps(encoded: Sequence[bytes], stamps: bytes) -> list[bytes]:
    """Events with the stamps that they had before."""
    events: list[bytes] = []
    at = 0
    for each in encoded:
        if each[0] == BRACE:
            events.append(each)
        else:
            events.append(opening(stamps[at : at + STAMP_LENGTH]) + each)
            at += STAMP_LENGTH
    return events


class Stamper:
    """Stamps one client's events.

    Stamps never decrease, unless the clock shows that earlier ones were in the future.
    """

    def __init__(self, clock: ServerClock) -> None:
        self.offset: float
        """The server's clock less the engine's, by the last stamps."""
        self._clock = clock
        # The last stamp, as an event begins with it, and the time until which it is the right one.
        self._start = b""
        self._until = -math.inf
        self._set_back = clock.set_back
        # The same for events that were stored: those that were stored together share theirs.
        self._starts: dict[float, bytes] = {}

    def stamped(self, deliveries: list[Delivery], now: float) -> list[bytes]:
        """The events as they are sent. Those whose deliveries have ended are behind others: their
        stamps are their own, and count for no other's."""
        events: list[bytes] = []
        offset = self.offset = self._clock.offset(now)  # the same for all
        if self._set_back != self._clock.set_back:
            self._set_back, self._until = self._clock.set_back, -math.inf
        start, until = self._start, self._until  # the events of one millisecond share their stamp
        starts, latest = self._starts, offset + now
        if len(starts) > STARTS:
            starts.clear()
        for delivery in deliveries:
            encoded = delivery.encoded
            at = offset + delivery.at
            if type(delivery) is Kept:
                if encoded[0] != BRACE:
                    stored = delivery.stored
                    if stored is not None and stored.certain:
                        at = stored.at
                    if at > latest:
                        at = latest
                    own = starts.get(at)
                    if own is None:
                        own = starts[at] = opening(format_stamp(at))
                    encoded = own + encoded
                events.append(encoded)
                continue
            if at >= until:
                start = opening(format_stamp(at))
                whole = at // 1.0  # as ``format_stamp`` cuts it
                until = whole + ((at - whole) * 1000.0 // 1.0 + 1.0) / 1000.0
            events.append(encoded if encoded[0] == BRACE else start + encoded)
        self._start, self._until = start, until
        return events

    def _accepted(self, delivery: Delivery) -> float:
        """The server's time at which an event was accepted."""
        if isinstance(delivery, Kept) and delivery.stored and delivery.stored.certain:
            return delivery.stored.at
        return self.offset + delivery.at

    def before(self, part: Part, now: float, age: float) -> list[bool]:
        """Return of each event of a part whether its ``issued_at`` is older than an age.

        Args:
            part: of a batch.
            now: the engine's time.
            age: in seconds.
        """
        self.offset = self._clock.offset(now)
        moment = self.offset + now - age
        stamp = format_stamp(moment)
        return [
            event[STAMP] < stamp if each.encoded[0] != BRACE else self._own(each) < moment
            for each, event in zip(part.deliveries, part.events, strict=True)
        ]

    def _own(self, delivery: Delivery) -> float:
        """The ``issued_at`` that a caller gave an event, or else the time of its acceptance."""
        own = issued_at_of(delivery.encoded)
        return self._accepted(delivery) if own is None else own

    def renew(self, part: Part, now: float) -> bool:
        """Stamp a part anew if its stamps have proved wrong; return True if that changed it. It is
        a new request then, under a new key.

        Args:
            part: of a batch.
            now: the engine's time.
        """
        offset = self._clock.offset(now)
        if abs(offset - part.offset) <= DOUBT:
            return False
        events = self.stamped(part.deliveries, now)
        part.offset = offset
        if events == part.events:
            return False
        part.events, part.key = events, ""
        return True
