"""The attached clients of one key, all together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .token.life import REFUSAL_LASTS

if TYPE_CHECKING:
    from .batches.outbox import Outbox
    from .buffer import Buffer
    from .errors import MasivoError

__all__ = ["Clients"]


class Clients:
    """The attached clients, in order; the authorizer sees them as ``token.authorizer.Clients``."""

    def __init__(self) -> None:
        self._buffers: dict[Outbox, Buffer] = {}

    def __bool__(self) -> bool:
        return bool(self._buffers)

    def add(self, buffer: Buffer) -> None:
        """Attach a client."""
        self._buffers[buffer.outbox] = buffer

    def remove(self, outbox: Outbox) -> None:
        """Detach a client."""
        self._buffers.pop(outbox, None)

    @property
    def buffers(self) -> list[Buffer]:
        """A copy, as a client may attach meanwhile."""
        return list(self._buffers.values())

    @property
    def outboxes(self) -> list[Outbox]:
        """A copy of the clients that were not released."""
        return [outbox for outbox in list(self._buffers) if not outbox.released]

    def refresh_interval(self) -> float | None:
        """See ``authorizer.Clients``."""
        intervals = (outbox.settings.refresh_interval for outbox in self.outboxes)
        return min((each for each in intervals if each is not None), default=None)

    def timeout(self) -> float:
        """See ``authorizer.Clients``."""
        return max(outbox.settings.timeout for outbox in list(self._buffers))

    def max_retries(self) -> int:
        """See ``authorizer.Clients``."""
        return max((outbox.settings.max_retries for outbox in self.outboxes), default=0)

    def hurry(self) -> bool:
        """See ``authorizer.Clients``."""
        return any(outbox.hurry and outbox.pending for outbox in self.outboxes)

    def longest_rest(self) -> float:
        """See ``authorizer.Clients``."""
        return max((outbox.longest_rest for outbox in self.outboxes), default=REFUSAL_LASTS)

    def any_patient(self, asking: list[object]) -> bool:
        """See ``authorizer.Clients``."""
        patient = (outbox for outbox in self.outboxes if not outbox.hurry)
        return any(outbox.pending or outbox in asking for outbox in patient)

    def fail_waiting(self, error: MasivoError, *, hurried_only: bool) -> None:
        """See ``authorizer.Clients``."""
        for outbox in self.outboxes:
            if outbox.hurry or not hurried_only:
                outbox.fail_waiting(error)
