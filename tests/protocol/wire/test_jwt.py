"""Tokens as servers make them."""

import json

import pytest

from masivo._protocol.wire.jwt import claims_of, signed
from masivo._protocol.wire.tokens import lifetime

SECRET = b"s" * 32
CLAIMS: dict[str, object] = {"iat": 1_000, "exp": 4_600, "key": "k" * 64}


def test_a_token_gives_its_claims_to_those_who_have_the_secret() -> None:
    """And to nobody else."""
    token = signed(CLAIMS, SECRET)
    assert claims_of(token, SECRET) == CLAIMS
    assert claims_of(token, b"t" * 32) is None


def test_a_client_reads_its_lifetime() -> None:
    """A token is a JWT in the form that a client knows."""
    assert lifetime(signed(CLAIMS, SECRET), None, 0.0) == 3_600


def test_a_token_has_no_padding() -> None:
    """RFC 7515, section 2: whatever the length of the claims."""
    assert not any("=" in signed({"key": "k" * length}, SECRET) for length in range(3))


def test_a_token_that_was_changed_is_none_of_ours() -> None:
    """Whatever was done to it, nothing raises."""
    token = signed(CLAIMS, SECRET)
    shorter = token.partition(".")[2]
    for changed in (token[:-1], token + "A", "A" + token, token.replace(".", "", 1), shorter):
        assert claims_of(changed, SECRET) is None
    for other in ("", "..", "é.è.ê\ud800"):
        assert claims_of(other, SECRET) is None


def test_the_algorithm_is_not_the_token_s_to_choose() -> None:
    """Neither ``none`` nor any other is taken, though it is signed with the secret."""
    import hmac
    from base64 import urlsafe_b64encode

    for header in ({"alg": "none"}, {"alg": "HS512", "typ": "JWT"}, {"typ": "JWT", "alg": "HS256"}):
        parts = [urlsafe_b64encode(json.dumps(part).encode()) for part in (header, CLAIMS)]
        content = b".".join(part.rstrip(b"=") for part in parts)
        signature = urlsafe_b64encode(hmac.digest(SECRET, content, "sha256")).rstrip(b"=")
        assert claims_of((content + b"." + signature).decode(), SECRET) is None
        assert claims_of((content + b".").decode(), SECRET) is None


@pytest.mark.parametrize("claims", [b"[]", b"no JSON", b"\xff", b'"text"'])
def test_claims_that_are_no_object_are_none(claims: bytes) -> None:
    """Also where they are signed."""
    import hmac
    from base64 import urlsafe_b64encode

    header = signed({}, SECRET).partition(".")[0].encode()
    content = header + b"." + urlsafe_b64encode(claims).rstrip(b"=")
    signature = urlsafe_b64encode(hmac.digest(SECRET, content, "sha256")).rstrip(b"=")
    assert claims_of((content + b"." + signature).decode(), SECRET) is None
