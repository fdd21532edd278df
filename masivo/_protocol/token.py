"""The life of a bearer token.

::

              NEEDED               GRANTED               DUE
    ABSENT ───────────> FETCHING ───────────> FRESH ───────────> STALE
      ^  ^                │  ^                  │ ^                │ │
      │  └────────────────┘  │                  │ └────────────────┘ │
      │        FAILED        │                  │       GRANTED      │ (FAILED: stays)
      └──────────────────────│──────────────────┘                    │
                             │     REVOKED                           │
                             └───────────────────────────────────────┘
                                             REVOKED
"""

from __future__ import annotations

import base64
import binascii
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from .json import parse
from .settings import LONGEST, is_header_value
from .stamps import parse_http_date

if TYPE_CHECKING:
    from .errors import MasivoError
    from .values import RandomSource

__all__ = ["TRANSITIONS", "Change", "State", "Token", "lifetime", "token_in"]

EARLIEST_SPREAD: Final = 0.1
"""The first renewal after a token was needed comes after a random part, from this up to 1, of
the interval, so that processes that start together renew apart. Later ones keep the interval."""

EXPIRY_MARGIN: Final = 300.0
"""A token is renewed so many seconds before its own expiry (the vendor's guide), up to twice so
many by jitter."""
EXPIRY_SHARE: Final = 0.1
"""... but never more than this share of its life before it."""

REFUSAL_LASTS: Final = 30.0
"""For so many seconds after a definitive refusal, new events fail at once (contract, 5)."""


class State(Enum):
    """What there is of a token."""

    ABSENT = "absent"
    """None, and nobody needs one."""
    FETCHING = "fetching"
    """None yet: an authorization is out, or between repeats."""
    FRESH = "fresh"
    """A token, with nothing to be done about it."""
    STALE = "stale"
    """A token that still works, and an authorization for its successor."""


class Change(Enum):
    """What can happen to it."""

    NEEDED = auto()
    """Something must be sent."""
    GRANTED = auto()
    """An authorization brought a token."""
    FAILED = auto()
    """An authorization failed for good."""
    REVOKED = auto()
    """A request with the token was answered 401, or it has expired."""
    DUE = auto()
    """It is time to renew."""


TRANSITIONS: Final = {
    (State.ABSENT, Change.NEEDED): State.FETCHING,
    (State.FETCHING, Change.GRANTED): State.FRESH,
    (State.FETCHING, Change.FAILED): State.ABSENT,
    (State.FRESH, Change.DUE): State.STALE,
    (State.FRESH, Change.REVOKED): State.ABSENT,
    (State.STALE, Change.GRANTED): State.FRESH,
    (State.STALE, Change.FAILED): State.STALE,
    (State.STALE, Change.REVOKED): State.FETCHING,
}
"""Where each change leads; what is not here changes nothing."""


class Token:
    """The token of one key, with the times that belong to it (seconds on the engine's clock)."""

    def __init__(self, random: RandomSource) -> None:
        self._random = random
        self.state = State.ABSENT
        self.value: str | None = None
        """The token; None unless FRESH or STALE."""
        self.latest: str | None = None
        """The last token that there was, also when it is dead: an answer may still echo it."""
        self.refusal: MasivoError | None = None
        """The last definitive refusal."""
        self.refused_until = 0.0
        """New events fail at once with ``refusal`` before this time."""
        self._granted_at = 0.0
        self._part = 1.0  # of the interval, that passes until it is renewed
        self._expires_at: float | None = None
        self._renew_before_expiry = 0.0

    @property
    def authorizing(self) -> bool:
        """Whether an authorization is out or between repeats."""
        return self.state in (State.FETCHING, State.STALE)

    def change(self, change: Change) -> bool:
        """Follow the table; whether it knows the change in this state."""
        state = TRANSITIONS.get((self.state, change))
        if state is None:
            return False
        self.state = state
        if state in (State.ABSENT, State.FETCHING):
            self.value = None
        return True

    def grant(self, value: str, life: float | None, now: float, *, on_time: bool) -> None:
        """Take a new token.

        Args:
            value: the token.
            life: the seconds until its own expiry; None if it does not tell.
            now: the engine's time.
            on_time: whether it was renewed when due, without a failure: then the next renewal
                keeps the interval, else it is spread anew.
        """
        self.change(Change.GRANTED)
        self.value = self.latest = value
        self.refusal = None
        self._granted_at = now
        spread = self._random.random()
        self._part = 1.0 if on_time else EARLIEST_SPREAD + (1.0 - EARLIEST_SPREAD) * spread
        self._expires_at = None
        if life is not None and life > 0.0:
            self._expires_at = now + life
            margin = min(EXPIRY_MARGIN, life * EXPIRY_SHARE)
            self._renew_before_expiry = margin * (1.0 + spread)

    def refuse(self, error: MasivoError, now: float) -> None:
        """Take note of a definitive refusal."""
        self.refusal, self.refused_until = error, now + REFUSAL_LASTS

    def refuses(self, now: float) -> MasivoError | None:
        """The refusal with which events fail at once at this time, if they do."""
        if self.state is State.ABSENT and now < self.refused_until:
            return self.refusal
        return None

    def expired(self, now: float) -> bool:
        """Whether it is known to be dead."""
        return self.value is not None and self._expires_at is not None and now >= self._expires_at

    def renew_at(self, interval: float | None) -> float | None:
        """When a FRESH token is due, None for never (opaque, and no interval)."""
        if self.state is not State.FRESH:
            return None
        times: list[float] = []
        if interval is not None:
            times.append(self._granted_at + self._part * interval)
        if self._expires_at is not None:
            times.append(self._expires_at - self._renew_before_expiry)
        return min(times, default=None)


def token_in(body: bytes) -> str | None:
    """The token in an authorization's answer (``{"data": "<token>"}``), None without one."""
    value = parse(body)
    token = value.get("data") if isinstance(value, dict) else None
    return token if isinstance(token, str) and is_header_value(token) else None


def lifetime(token: str, date: str | None, wall_time: float) -> float | None:
    """The seconds until a token's own expiry (``LONGEST`` at most), None if it does not tell.

    It tells by the claim ``exp`` of a JWT (RFC 7519, section 4.1.4), by the server's clock: the
    answer's ``Date``, else its claim ``iat``, else our wall clock. No claim is required.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = parse(base64.urlsafe_b64decode(parts[1] + "=="))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(claims, dict):
        return None
    expires, issued = claims.get("exp"), claims.get("iat")
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        return None
    now = parse_http_date(date) if date is not None else None
    try:
        if now is None:
            now = float(issued) if isinstance(issued, int | float) else wall_time
        return min(float(expires) - now, LONGEST)
    except OverflowError:  # an integer beyond all floats
        return None
