"""The life of a bearer token.

::

              NEEDED               GRANTED               DUE
    ABSENT ───────────> FETCHING ───────────> FRESH ───────────> STALE
      ^  ^                │  ^                  │ ^                │ │
      │  └────────────────┘  │                  │ └────────────────┘ │
      │        FAILED        │                  │       GRANTED      │
      └──────────────────────│──────────────────┘                    │
                             │     REVOKED                           │
                             └───────────────────────────────────────┘
                                             REVOKED
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from masivo._protocol.errors import MasivoError
    from masivo._protocol.values import RandomSource

__all__ = ["TRANSITIONS", "Change", "State", "Token"]

EARLIEST_SPREAD: Final = 0.1
"""The first renewal comes after a random share of the interval, between this and 1, so that
processes that start together do not renew together. Later ones keep the interval."""

EXPIRY_MARGIN: Final = 300.0
"""A token is renewed this many seconds before its own expiry (the vendor's guide), or by jitter up
to twice as many."""
EXPIRY_SHARE: Final = 0.1
"""The largest share of the token's lifetime that this margin may be, before the jitter."""

REFUSAL_LASTS: Final = 30.0
"""Seconds after a refusal of the key in which new events fail at once
(``docs/reference/guarantees.md#refused-key``)."""


class State(Enum):
    """The states of a token."""

    ABSENT = "absent"
    """There is none, and none is needed."""
    FETCHING = "fetching"
    """There is none yet: an authorization is out, or waits for a retry."""
    FRESH = "fresh"
    """There is a token, and no renewal is due."""
    STALE = "stale"
    """There is a token that still works, and an authorization for the next one."""


class Change(Enum):
    """The changes of its state."""

    NEEDED = auto()
    """A request needs a token."""
    GRANTED = auto()
    """An authorization brought a token."""
    FAILED = auto()
    """An authorization failed for good. One in the background does not: it is tried again."""
    REVOKED = auto()
    """A request with the token got a 401, or it has expired."""
    DUE = auto()
    """A renewal is due."""


TRANSITIONS: Final = {
    (State.ABSENT, Change.NEEDED): State.FETCHING,
    (State.FETCHING, Change.GRANTED): State.FRESH,
    (State.FETCHING, Change.FAILED): State.ABSENT,
    (State.FRESH, Change.DUE): State.STALE,
    (State.FRESH, Change.REVOKED): State.ABSENT,
    (State.STALE, Change.GRANTED): State.FRESH,
    (State.STALE, Change.REVOKED): State.FETCHING,
}
"""The state after each change; any other change has no effect."""


class Token:
    """The token of one key, with the times that belong to it (seconds on the engine's clock)."""

    def __init__(self, random: RandomSource) -> None:
        self._random = random
        self.state = State.ABSENT
        self.value: str | None = None
        """The token; None unless FRESH or STALE."""
        self.refusal: MasivoError | None = None
        """The last refusal of the key."""
        self._refusals = 0
        self.refused_until = 0.0
        """New events fail at once with ``refusal`` before this time."""
        self._granted_at = 0.0
        self._part = 1.0  # the part of the interval until the renewal
        self._expires_at: float | None = None
        self._renew_before_expiry = 0.0

    @property
    def authorizing(self) -> bool:
        """True while an authorization is out or waits for a retry."""
        return self.state in (State.FETCHING, State.STALE)

    def change(self, change: Change) -> bool:
        """Follow the table; return False if it has no such change in this state."""
        state = TRANSITIONS.get((self.state, change))
        if state is None:
            return False
        self.state = state
        if state in (State.ABSENT, State.FETCHING):
            self.value = None
        return True

    def grant(self, value: str, life: float | None, now: float, *, on_time: bool) -> None:
        """Set a new token.

        Args:
            value: the token.
            life: the seconds until its own expiry; None if it is unknown.
            now: the engine's time.
            on_time: True if it was renewed when due, without a failure: then the next renewal keeps
                the interval; else its time is random again.
        """
        self.change(Change.GRANTED)
        self.value = value
        self.refusal = None
        self._granted_at = now
        spread = self._random.random()
        self._part = 1.0 if on_time else EARLIEST_SPREAD + (1.0 - EARLIEST_SPREAD) * spread
        self._expires_at = None
        if life is not None and life > 0.0:
            self._expires_at = now + life
            margin = min(EXPIRY_MARGIN, life * EXPIRY_SHARE)
            self._renew_before_expiry = margin * (1.0 + spread)

    def refuse(self, error: MasivoError, now: float, longest: float) -> None:
        """Rest the key after a refusal: twice as long as after the previous one, but at most
        ``longest`` seconds."""
        rest = min(longest, REFUSAL_LASTS * 2.0 ** min(self._refusals, 64))
        self._refusals += 1
        self.refusal, self.refused_until = error, now + rest

    def trust(self) -> None:
        """Forget earlier refusals: the API accepted a token of the key."""
        self._refusals = 0

    def refusal_at(self, now: float) -> MasivoError | None:
        """The refusal with which events fail at once at this time, if they do."""
        if self.state is State.ABSENT and now < self.refused_until:
            return self.refusal
        return None

    def expired(self, now: float) -> bool:
        """Return True if the token is known to have expired."""
        return self.value is not None and self._expires_at is not None and now >= self._expires_at

    def renew_at(self, interval: float | None) -> float | None:
        """The time at which a FRESH token is renewed; None for never (opaque, and no interval)."""
        if self.state is not State.FRESH:
            return None
        times: list[float] = []
        if interval is not None:
            times.append(self._granted_at + self._part * interval)
        if self._expires_at is not None:
            times.append(self._expires_at - self._renew_before_expiry)
        return min(times, default=None)
