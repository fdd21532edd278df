"""The token in an authorization's response, and its lifetime."""

from __future__ import annotations

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
