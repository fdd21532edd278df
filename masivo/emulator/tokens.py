"""Bearer tokens: issued for a key, good for a while, until they are revoked."""

import base64
import hashlib
import hmac
import json
import math
import secrets
from dataclasses import dataclass


@dataclass(slots=True)
class _Issued:
    key: str
    expires_at: float
    revoked: bool = False


class Tokens:
    """Every token issued so far. Not thread-safe: the caller holds a lock.

    A token lives at least `ttl` seconds. Its claims are whole seconds, as the vendor's are, so
    it can live up to a second longer; with a `ttl` that is no whole number both are exact.
    """

    def __init__(self, ttl: float, *, opaque: bool) -> None:
        self._ttl = ttl
        self._opaque = opaque
        self._secret = secrets.token_bytes(32)
        self._issued: dict[str, _Issued] = {}

    def issue(self, key: str, now: float) -> str:
        """Return a new token for the key; `now` is in seconds since the epoch."""
        expires_at = now + self._ttl
        if float(self._ttl).is_integer():
            expires_at = math.ceil(expires_at)
        token = secrets.token_urlsafe(32) if self._opaque else self._jwt(now, expires_at)
        self._issued[token] = _Issued(key, expires_at)
        return token

    def key_of(self, token: str) -> str | None:
        """Return the key that the token was issued for, whether it is still good or not."""
        issued = self._issued.get(token)
        return issued.key if issued else None

    def problem_with(self, token: str, now: float) -> str | None:
        """Say why the token is not good, or return None for a good one."""
        issued = self._issued.get(token)
        if issued is None:
            return "The token is unknown"
        if issued.revoked:
            return "The token was revoked"
        if now >= issued.expires_at:
            return "The token has expired"
        return None

    def revoke_all(self) -> None:
        """Make every token issued so far unusable."""
        for issued in self._issued.values():
            issued.revoked = True

    def _jwt(self, now: float, expires_at: float) -> str:
        issued_at = math.floor(now) if isinstance(expires_at, int) else now
        claims = {"iat": issued_at, "exp": expires_at, "jti": secrets.token_hex(8)}
        signed = b".".join(
            _base64url(json.dumps(part).encode())
            for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        )
        signature = hmac.new(self._secret, signed, hashlib.sha256).digest()
        return b".".join((signed, _base64url(signature))).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
