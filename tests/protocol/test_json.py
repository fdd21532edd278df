"""JSON as the core reads and writes it."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.json import NOT_JSON, decode_encoded, encode, parse


@pytest.mark.parametrize("text", [b"", b" ", b"\n\t \r"])
def test_an_empty_text_is_none(text: bytes) -> None:
    """An empty text, or blanks alone, is None."""
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(b"{", b"{'a': 1}", b"NaN", b"Infinity", b"01", b"1 2", b"\xff", b'"\\ud800"', b"<p>"),
        *(b"[" * 100_000, b"\x00", b"\xef\xbb\xbf{}", b"{} x", b'"a\nb"', b"tru"),
    ],
    ids=lambda text: repr(text[:10]),
)
def test_what_is_not_json_is_said_to_be_none(text: bytes) -> None:
    """Anything else that is no JSON is NOT_JSON, and raises nothing."""
    assert parse(text) is NOT_JSON


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_no_text_raises(text: bytes) -> None:
    """Whatever the text: a value, or NOT_JSON; what the standard library refuses is refused."""
    value = parse(text)
    try:
        expected = json.loads(text)
    except ValueError:
        assert value is NOT_JSON or not text.strip()
    else:
        assert value == expected or value is NOT_JSON


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=10,
    )
)
def test_what_is_encoded_is_parsed_again(value: object) -> None:
    """What is encoded is parsed to the same value."""
    assert parse(encode(value)) == value
    assert decode_encoded(encode(value)) == value


def test_a_decimal_is_written_exactly() -> None:
    """A Decimal is written as a number, digit by digit."""
    assert encode([Decimal("1.10"), Decimal("1E+500")]) == b"[1.10,1E+500]"


@pytest.mark.parametrize("text", ["1e999", "-1.5E+309", "9" * 5000, "9" * 5000 + ".5"])
def test_a_number_that_no_reader_can_hold_is_not_json(text: str) -> None:
    """Neither as an int nor as a float."""
    assert parse(text.encode()) is NOT_JSON
