"""The suspicion that the API rejects everything.

The rule: ``docs/reference/guarantees.md#everything-rejected``.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Rejections"]

WHOLE_BATCHES: Final = 2
"""After this many batches in a row of which every event was rejected, events are sent alone."""


class Rejections:
    """One client's batches of which every event was rejected.

    Halving takes about two requests for each event at fault. If all are, sending each alone takes
    one.
    """

    def __init__(self) -> None:
        self._batches = 0
        self._warned = False

    @property
    def suspected(self) -> bool:
        """True while events are sent alone: the API seems to reject everything."""
        return self._batches >= WHOLE_BATCHES

    def delivered(self) -> None:
        """Note an event that the API accepted: it does not reject everything."""
        self._batches, self._warned = 0, False

    def batch_ended(self) -> None:
        """Note a batch of which every event was rejected."""
        self._batches += 1

    def event_rejected(self, status: int | None) -> str | None:
        """Note an event that was rejected alone; return the warning, once, if everything seems to
        be rejected."""
        if self._warned or not self.suspected:
            return None
        self._warned = True
        return (
            f"the API rejects everything (HTTP {status}): every event of {WHOLE_BATCHES} batches "
            "in a row, and the next one, which was sent alone. If an error names a field, your "
            "events have it wrong. Otherwise check api (masivo.Api): the path, the form and the "
            "encoding of a batch. Until an event is accepted, each is sent alone"
        )
