"""Bearer tokens: issued for a key, valid until they expire or are revoked."""

import math
import secrets
from dataclasses import dataclass
from itertools import islice

from masivo._protocol.wire.jwt import signed


@dataclass(slots=True)
class IssuedToken:
    """The record of a token, without the token itself."""

    # Position among all tokens, from 1.
    number: int
    key: str
    # Both in seconds since the epoch.
    issued_at: float
    expires_at: float
    revoked: bool = False


class Tokens:
    """Every token issued so far. Not thread-safe: the caller holds a lock.

    A token is valid for at least `ttl` seconds. Its claims are whole seconds, like the vendor's, so
    it can be valid up to a second longer; if `ttl` is not a whole number, both are exact.
    """

    def __init__(self, ttl: float, *, opaque: bool) -> None:
        self._ttl = ttl
        self._opaque = opaque
        self._secret = secrets.token_bytes(32)
        self._issued: dict[str, IssuedToken] = {}

    def issue(self, key: str, now: float) -> str:
        """Return a new token for the key; `now` is in seconds since the epoch."""
        expires_at = now + self._ttl
        if float(self._ttl).is_integer():
            expires_at = math.ceil(expires_at)
        token = secrets.token_urlsafe(32) if self._opaque else self._jwt(now, expires_at)
        self._issued[token] = IssuedToken(len(self._issued) + 1, key, now, expires_at)
        return token

    def key_of(self, token: str) -> str | None:
        """Return the key that the token was issued for, even if it is no longer valid."""
        issued = self.find(token)
        return issued.key if issued else None

    def find(self, token: str) -> IssuedToken | None:
        """Return the record of a token; None if it was not issued here."""
        return self._issued.get(token)

    def newest(self, count: int) -> list[IssuedToken]:
        """Return the last `count` tokens, the newest first."""
        return list(islice(reversed(self._issued.values()), count))

    def problem_with(self, token: str, now: float) -> str | None:
        """Return why the token is not valid, or None if it is."""
        issued = self.find(token)
        if issued is None:
            return "The token is unknown"
        if issued.revoked:
            return "The token was revoked"
        if now >= issued.expires_at:
            return "The token has expired"
        return None

    def revoke_all(self) -> None:
        """Revoke every token issued so far."""
        for issued in self._issued.values():
            issued.revoked = True

    def _jwt(self, now: float, expires_at: float) -> str:
        issued_at = math.floor(now) if isinstance(expires_at, int) else now
        claims = {"iat": issued_at, "exp": expires_at, "jti": secrets.token_hex(8)}
        return signed(claims, self._secret)
