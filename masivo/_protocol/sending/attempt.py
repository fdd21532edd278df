"""The attempts to send a batch or an authorization."""

from __future__ import annotations

__all__ = ["Attempt"]


class Attempt:
    """A batch or an authorization, with the state of its requests and retries."""

    def __init__(self, client: object = None) -> None:
        self.client: object = client
        """The gate of its client; None if it belongs to all clients."""
        self.request_id: int | None = None
        """The request that is out; None while waiting."""
        self.sent_at: float = 0.0
        """The time at which it was sent."""
        self.failures = 0
        """The key's number of failures in a row when it was sent."""
        self.not_before: float = 0.0
        """The earliest time for the next request."""
        self.retries: int = 0
        """The number of its retries so far."""
        self.last_try: bool = False
        """True once a close cut its wait short: it is not sent again."""

    @property
    def name(self) -> str | None:
        """The batch's name in reports; None for an authorization."""
        return None

    def begin(self) -> None:
        """Reset the retries: the next request is a new one."""
        self.retries = 0
        self.last_try = False
