"""The ``issued_at`` of events that have none.

The rules: ``docs/reference/guarantees.md#issued_at``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from masivo._protocol.events.form import BRACE, opening
from masivo._protocol.wire.dates import format_stamp

if TYPE_CHECKING:
    from masivo._protocol.delivery import Delivery
    from masivo._protocol.sending.server_clock import ServerClock

__all__ = ["Stamper"]


class Stamper:
    """Stamps one client's events; a stamp is never before an earlier one."""

    def __init__(self, clock: ServerClock) -> None:
        self._clock = clock
        self._last = -math.inf

    def stamped(self, deliveries: list[Delivery], now: float) -> list[bytes]:
        """The events as they are sent."""
        events: list[bytes] = []
        offset = self._clock.time(0.0, now)  # asked once, as it is the same for all
        moment = self._last
        start, until = b"", -math.inf  # the events of one millisecond share their stamp
        for delivery in deliveries:
            at = offset + delivery.at
            if at > moment:
                moment = at
            if moment >= until:
                start = opening(format_stamp(moment))
                whole = moment // 1.0  # as ``format_stamp`` cuts it
                until = whole + ((moment - whole) * 1000.0 // 1.0 + 1.0) / 1000.0
            encoded = delivery.encoded
            events.append(encoded if encoded[0] == BRACE else start + encoded)
        self._last = moment
        return events
