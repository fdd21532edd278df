"""The token in an authorization's response, and its lifetime."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.wire.tokens import lifetime, token_in


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"data": "abc"}', "abc"),
        (b'{"data": "a.b-c_d~+/=", "x": 1}', "a.b-c_d~+/="),
        (b'{"data": ""}', None),
        (b'{"data": "a b"}', None),
        (b'{"data": "a\\n"}', None),
        (b'{"data": 5}', None),
        (b'{"data": {"token": "x"}}', None),
        (b'"abc"', None),
        (b"abc", None),
        (b"", None),
        (b"[]", None),
    ],
)
def test_the_token_in_a_response(body: bytes, value: str | None) -> None:
    """The token is the text under ``data``, if a header can carry it."""
    assert token_in(body) == value


@given(st.text(max_size=60) | st.from_regex(r"[\w-]{0,9}\.[\w=+/-]{0,40}\.[\w-]{0,9}"))
def test_whatever_a_token_is_its_life_is_none_or_a_number(text: str) -> None:
    """No token makes the reading of its life fail."""
    life = lifetime(text, None, 0.0)
    assert life is None or life <= 1e9


def token(claims: object, *, plain: bool = False) -> str:
    """A JWT with these claims, in base64url or in plain base64."""
    encode = b64encode if plain else urlsafe_b64encode
    text = encode(json.dumps(claims, ensure_ascii=False).encode()).rstrip(b"=").decode()
    return f"header.{text}.signature"


DATE = "Thu, 01 Jan 2026 12:00:00 GMT"
NOON = 1_767_268_800
ODD = {"exp": NOON + 60, "x": "~~~~~~~?????????"}
"""Their base64 has both characters that base64url replaces."""


@pytest.mark.parametrize(
    ("claims", "date", "life"),
    [
        ({"exp": NOON + 60}, DATE, 60.0),
        ({"exp": NOON + 60.5, "iat": NOON + 30}, DATE, 60.5),
        ({"exp": NOON + 60, "iat": NOON + 20}, None, 40.0),
        ({"exp": NOON + 60, "iat": NOON + 20}, "yesterday", 40.0),
        ({"exp": NOON + 60, "iat": "now"}, None, 50.0),
        ({"exp": NOON + 60}, None, 50.0),
        ({"exp": NOON - 60}, DATE, -60.0),
        ({"exp": 1e30}, DATE, 1e9),
        ({"exp": 10**400}, DATE, None),
        ({"exp": NOON, "iat": 10**400}, None, None),
        ({"exp": True}, DATE, None),
        ({"exp": str(NOON + 60)}, DATE, None),
        ({"iat": NOON}, DATE, None),
        ([NOON + 60], DATE, None),
    ],
)
def test_the_life_of_a_token(claims: object, date: str | None, life: float | None) -> None:
    """By its claim ``exp``, and the server's clock: ``Date``, else ``iat``, else the wall clock,
    here at ten seconds past noon. At most 1e9 s; None if it is unknown."""
    assert lifetime(token(claims), date, NOON + 10.0) == life


def test_both_forms_of_base64_are_read() -> None:
    """Some servers write the plain one."""
    assert "-" in token(ODD)
    assert "_" in token(ODD)
    for plain in (False, True):
        assert lifetime(token(ODD, plain=plain), DATE, 0.0) == 60.0


@pytest.mark.parametrize("parts", ["{0}", "a.{0}", "{0}.a", "a.{0}.b.c", "..", "a.%.b", "a.a.b"])
def test_another_token_has_no_life(parts: str) -> None:
    """A JWT has three parts, and claims in the second."""
    claims = token({"exp": NOON}).split(".")[1]
    assert lifetime(parts.format(claims), DATE, 0.0) is None
