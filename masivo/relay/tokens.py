"""The keys that a relay accepts, and the tokens that it grants for them.

A token is signed with the store's secret, so each relay of the store accepts it. It holds the
SHA-256 of its key, so it becomes invalid when the key is removed from the relay's keys.
"""

from __future__ import annotations

import hmac
import math
from functools import lru_cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from masivo._protocol.wire.jwt import claims_of, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from masivo.protocol import Secret

__all__ = ["LEEWAY", "TTL", "InvalidTokenError", "Tokens"]

TTL: Final = 3_600
"""The life of a token, in seconds."""
MOST: Final = 256
"""The tokens whose signatures are not checked anew each time."""
LEEWAY: Final = 60.0
"""The clocks of relays may differ by this many seconds."""


class InvalidTokenError(Exception):
    """A token is not valid; the message says why."""


class Tokens:
    """The keys of one relay, and the tokens for them.

    Args:
        keys: the keys that clients may use.
        secret: of the store.
        now: the upstream's time, in seconds since the epoch.
    """

    def __init__(self, keys: Iterable[Secret], secret: bytes, now: Callable[[], float]) -> None:
        self._accounts = [sha256(key.reveal().encode()).digest() for key in keys]
        self._by_name = {account.hex(): account for account in self._accounts}
        self._secret = secret
        self._now = now
        # A client sends many batches with one token.
        self._claims = lru_cache(MOST)(partial(claims_of, secret=secret))

    def grant(self, key: str) -> str | None:
        """Return a new token for a key; None if the key is unknown."""
        given = sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = False
        for account in self._accounts:  # all of them, so that the time gives nothing away
            found |= hmac.compare_digest(account, given)
        if not found:
            return None
        issued = math.floor(self._now())
        return signed({"iat": issued, "exp": issued + TTL, "key": given.hex()}, self._secret)

    def account(self, token: str) -> bytes:
        """Return the SHA-256 of the key that a token was granted for.

        Raises:
            InvalidTokenError: it is not ours, it has expired, or its key is no longer accepted.
        """
        claims = self._claims(token)
        if claims is None:
            raise InvalidTokenError("The token is unknown")
        now = self._now()
        issued, expires, key = claims.get("iat"), claims.get("exp"), claims.get("key")
        if not (isinstance(issued, int) and isinstance(expires, int) and isinstance(key, str)):
            raise InvalidTokenError("The token is unknown")
        if now >= expires + LEEWAY:
            raise InvalidTokenError("The token has expired")
        account = self._by_name.get(key)
        if account is None:
            raise InvalidTokenError("The API key is not valid any more")
        return account
