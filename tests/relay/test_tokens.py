"""Tokens of a relay, without a relay (``test_intake`` has the rest)."""

from __future__ import annotations

from hashlib import sha256

import pytest

from masivo._protocol.wire.jwt import claims_of, signed
from masivo._protocol.wire.tokens import lifetime
from masivo.protocol import Secret
from masivo.relay.tokens import LEEWAY, TTL, InvalidTokenError, Tokens

SECRET = bytes(32)
KEY = "client-key"
NOW = 1_800_000_000.5


def tokens(*keys: str, at: float = NOW, secret: bytes = SECRET) -> Tokens:
    """What a relay has, at a time."""
    return Tokens([Secret(key) for key in keys or (KEY,)], secret, lambda: at)


def granted(key: str = KEY) -> str:
    """A token for a key."""
    token = tokens(KEY, "second").grant(key)
    assert token is not None
    return token


def problem(given: Tokens, token: str) -> str:
    """Why a token is not taken."""
    with pytest.raises(InvalidTokenError) as caught:
        given.account(token)
    return str(caught.value)


def test_a_token_names_the_digest_of_its_key() -> None:
    """And lives an hour."""
    assert claims_of(granted(), SECRET) == {
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
        "key": sha256(KEY.encode()).hexdigest(),
    }
    assert lifetime(granted(), None, NOW) == TTL
    assert tokens().account(granted()) == sha256(KEY.encode()).digest()


def test_only_known_keys_are_granted_one() -> None:
    """Whatever a header can hold."""
    assert tokens().grant("another") is None
    assert tokens().grant("") is None
    assert tokens().grant("\udcff") is None
    assert tokens(KEY, "second").grant("second") is not None


def test_clocks_may_differ_by_a_minute() -> None:
    """Those of the relays of a store; a token ends later than its own time by that much. One that
    was granted by a clock far ahead is valid: a relay whose clock is wrong until the API has
    responded does not lock its clients out."""
    end = 1_800_000_000 + TTL + LEEWAY
    assert tokens(at=end - 0.1).account(granted())
    assert problem(tokens(at=end), granted()) == "The token has expired"
    assert tokens(at=NOW - TTL).account(granted())


def test_another_store_s_token_is_unknown() -> None:
    """And a signed one without our claims is, too."""
    assert problem(tokens(secret=b"x" * 32), granted()) == "The token is unknown"
    for claims in ({}, {"iat": "1", "exp": 2, "key": "k"}, {"iat": 1, "exp": None, "key": "k"}):
        assert problem(tokens(), signed(claims, SECRET)) == "The token is unknown"


def test_a_token_ends_with_its_key() -> None:
    """When the relay is not told that key any more."""
    assert problem(tokens(KEY), granted("second")) == "The API key is not valid any more"
