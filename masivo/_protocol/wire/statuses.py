"""The statuses of responses: which may succeed later, and which blame a batch or a key."""

from __future__ import annotations

from typing import Final

__all__ = ["KEY_AT_FAULT", "REJECTED", "RETRYABLE"]

RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed later, a batch or an authorization
(``docs/reference/guarantees.md#retried-failures``). A request without a complete response is
retryable, too, unless the headers of a 2xx had arrived."""

REJECTED: Final = frozenset({400, 413, 422})
"""Statuses that blame the events of a batch: perhaps one of them
(``docs/reference/guarantees.md#rejected-batches``)."""

KEY_AT_FAULT: Final = frozenset({400, 401, 403, 422})
"""Statuses of an authorization that blame the key."""
