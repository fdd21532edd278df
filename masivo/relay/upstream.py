"""The state of the API, as a relay's deliveries find it, the warnings about it, and its time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from masivo import MasivoClosedError, MasivoError
from masivo._protocol.wire.statuses import REJECTED
from masivo.protocol import KeyRefused, RequestFailed, ResponseReceived

if TYPE_CHECKING:
    from masivo import AsyncClient
    from masivo.protocol import Activity

__all__ = ["Upstream", "learn_time"]

PATIENCE: Final = 30.0
"""Failures must last this many seconds before a warning: short ones are normal."""
AGAIN: Final = 600.0
"""The time between two warnings about one outage, in seconds."""

LEARN_AGAIN: Final = 10.0
"""The time after which a relay asks the API once more for its time, in seconds; it doubles."""
LEARN_AT_LEAST: Final = 600.0
"""The longest that it becomes."""

_logger = logging.getLogger("masivo.relay")


class Upstream:
    """The state of the API: True in ``is_up`` while it accepts events."""

    def __init__(self) -> None:
        self._down_since: float | None = None
        self._warn_at = 0.0
        self._warned = False

    @property
    def is_up(self) -> bool:
        """False after a failed request, until one succeeds."""
        return self._down_since is None

    def listen(self, activity: Activity) -> None:
        """Learn from the activity of the store's clients: their ``on_activity``."""
        if isinstance(activity, RequestFailed):
            why = "no usable response"
            if activity.causes:
                why += f", {activity.causes[-1]}"
            self._failed(activity.at, why)
        elif isinstance(activity, ResponseReceived):
            status = activity.status
            # A batch that is rejected for its events shows that the API works.
            works = status < 300 or (activity.batch is not None and status in REJECTED)
            # A 401 for a batch is normal: the token has expired. The authorization decides.
            if works:
                self._succeeded(activity.at)
            elif status != 401 or activity.batch is None:
                self._failed(activity.at, f"HTTP {status}")
        elif isinstance(activity, KeyRefused):
            self._refused(activity)

    def _failed(self, at: float, why: str) -> None:
        if self._down_since is None:
            self._down_since = at
            self._warn_at = at + PATIENCE
        elif at >= self._warn_at:
            self._warn_at, self._warned = at + AGAIN, True
            _logger.warning(
                "the API has accepted nothing for %.0f s (%s): events wait in the store. Check "
                "the network, MASIVO_BASE_URL and MASIVO_API_KEY",
                at - self._down_since,
                why,
            )

    def _refused(self, activity: KeyRefused) -> None:
        """Warn at once: this problem does not resolve itself."""
        if self._down_since is None:
            self._down_since = activity.at
        elif self._warned and activity.at < self._warn_at:
            return
        self._warn_at, self._warned = activity.at + AGAIN, True
        _logger.warning(
            "the API refuses the key that this relay delivers with (%s, HTTP %s): events wait in "
            "the store. MASIVO_API_KEY must be a CLIENT key of this account",
            activity.error,
            activity.status,
        )

    def _succeeded(self, at: float) -> None:
        if self._warned and self._down_since is not None:
            _logger.warning("the API accepts events again, after %.0f s", at - self._down_since)
        self._down_since, self._warned = None, False


async def learn_time(client: AsyncClient) -> None:
    """Learn the API's time, though there may never be anything to deliver: authorize. Each response
    tells it, and renewals of the token follow."""
    wait = LEARN_AGAIN
    while True:
        try:
            await client.get_token()
        except MasivoClosedError:
            return
        except MasivoError:
            await asyncio.sleep(wait)
            wait = min(2 * wait, LEARN_AT_LEAST)
        else:
            return
