"""HTTP dates (RFC 9110, section 5.6.7), and the form of ``issued_at``
(``docs/reference/guarantees.md#issued_at``)."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from masivo._protocol.wire.dates import STAMP_LENGTH, format_stamp, parse_http_date, parse_stamp

NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""

moments = st.floats(-62e9, 253_402_300_799.0)
"""Seconds since the epoch, for years that a calendar has."""


def read(stamp: bytes) -> float:
    """A stamp as seconds since the epoch."""
    moment = datetime.strptime(stamp.decode(), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()


# ── HTTP dates ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "Thu, 01 Jan 2026 12:00:00 GMT",
        "  Thu, 01 Jan 2026 12:00:00 GMT ",
        "Thursday, 01-Jan-26 12:00:00 GMT",
        "Thu Jan  1 12:00:00 2026",
    ],
)
def test_all_three_forms_of_a_date_are_read(text: str) -> None:
    """IMF-fixdate, the form of RFC 850, and that of asctime name the same moment."""
    assert parse_http_date(text) == NOON


def test_a_stamp_has_its_offset() -> None:
    """A time without one may be any."""
    assert parse_stamp("2026-01-01T12:00:00.000Z") == NOON
    assert parse_stamp("2026-01-01T14:00:00+02:00") == NOON
    assert parse_stamp("2026-01-01T12:00:00") is None


@pytest.mark.parametrize("month", range(1, 13))
def test_every_month_is_read(month: int) -> None:
    """By its English name, whatever the language of the machine."""
    moment = datetime(2026, month, 1, tzinfo=UTC).timestamp()
    assert parse_http_date(formatdate(moment, usegmt=True)) == moment


def test_a_year_of_two_digits_and_a_leap_second_are_read() -> None:
    """Years of two digits from 70 on are of the last century; a leap second is the second before
    it."""
    assert parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT") == 784111777.0
    leap = parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT")
    assert leap == parse_http_date("Sat, 31 Dec 2016 23:59:59 GMT")


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "Thu, 01 Jan 2026 12:00:00", "Thu, 01 Jan 2026 12:00:00 CET"),
        *("Thu, 32 Jan 2026 12:00:00 GMT", "Thu, 30 Feb 2026 12:00:00 GMT", "2026-01-01"),
        *("Thu, 01 Foo 2026 12:00:00 GMT", "Thu, 01 Jan 2026 24:00:00 GMT", "0"),
        *("Thu, 01 Jan 0000 12:00:00 GMT", "Thu, 01 Jan 2026 12:61:00 GMT", "Thu, 01 Jan 2026"),
    ],
)
def test_anything_else_is_no_date(text: str) -> None:
    """What is no date is None."""
    assert parse_http_date(text) is None


@given(st.integers(0, 253_402_300_799))
def test_any_date_round_trips(seconds: int) -> None:
    """Any date is read as it was written."""
    assert parse_http_date(formatdate(seconds, usegmt=True)) == seconds


# Of ASCII: a class of all of Unicode takes two seconds to build.
DATE = r"[A-Z][a-z]+, [0-9]{2}[ -][A-Z][a-z]{2}[ -][0-9]+ [!-~]+ GMT"


@given(st.text(max_size=40) | st.from_regex(DATE))
def test_no_text_makes_the_reading_fail(text: str) -> None:
    """Whatever the text: a number or None."""
    value = parse_http_date(text)
    assert value is None or math.isfinite(value)


# ── Stamps ───────────────────────────────────────────────────────────────────────────────────


def test_a_stamp_is_utc_with_milliseconds_cut() -> None:
    """A stamp is UTC with milliseconds; what is left of them is cut off."""
    assert format_stamp(NOON + 0.1239) == b"2026-01-01T12:00:00.123Z"
    assert format_stamp(NOON + 0.9999) == b"2026-01-01T12:00:00.999Z"
    assert format_stamp(0.0) == b"1970-01-01T00:00:00.000Z"
    assert format_stamp(-0.001) == b"1969-12-31T23:59:59.999Z"


@given(moments)
@example(1_767_225_599.9999998)
@example(0.9999999999)
@example(-1e-9)
def test_a_stamp_is_never_later_than_its_moment(seconds: float) -> None:
    """A stamp is at most a millisecond earlier than its moment, and never later."""
    stamp = format_stamp(seconds)
    assert len(stamp) == STAMP_LENGTH
    whole = math.floor(seconds)
    assert round((read(stamp) - whole) * 1000) <= (seconds - whole) * 1000
    assert read(stamp) > seconds - 0.0011


@given(moments, moments)
def test_later_moments_have_later_stamps(first: float, second: float) -> None:
    """Stamps sort as their moments do."""
    first, second = sorted([first, second])
    assert format_stamp(first) <= format_stamp(second)


@given(st.floats())
def test_every_number_has_a_stamp_of_the_same_width(seconds: float) -> None:
    """A clock beyond all calendars gives a stamp too, of the same width."""
    assert len(format_stamp(seconds)) == STAMP_LENGTH


def test_years_of_two_digits_end_in_2069() -> None:
    """RFC 850: 70 is 1970, 69 is 2069."""
    assert parse_http_date("Thursday, 01-Jan-70 00:00:00 GMT") == 0.0
    assert parse_http_date("Tuesday, 01-Jan-69 00:00:00 GMT") == 3_124_224_000.0
    assert parse_http_date("Friday, 01-Jan-71 00:00:00 GMT") == 31_536_000.0


def test_a_date_that_the_machine_reads_in_another_zone_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HTTP dates are in UTC, wherever the machine is."""
    monkeypatch.setenv("TZ", "America/Bogota")
    time.tzset()
    try:
        assert parse_http_date("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    finally:
        monkeypatch.undo()
        time.tzset()
