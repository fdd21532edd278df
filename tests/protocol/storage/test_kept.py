"""What the core reads of a stored event (``docs/reference/guarantees.md#damage``)."""

from __future__ import annotations

import pytest

from masivo._protocol.storage.kept import customer_of, issued_at_of
from masivo._protocol.storage.store import Stored
from masivo.protocol import StoreError, StoreWork


def stored(event: bytes) -> Stored:
    """An event as it is stored."""
    return Stored(1, event, 0.0, certain=True)


@pytest.mark.parametrize("event", [b'{"customer_id":"c","n":1}', b'"customer_id":"c","n":1}'])
def test_the_customer_is_read_of_an_event_in_either_form(event: bytes) -> None:
    """With its opening brace, or without it, as one that is to be stamped is stored."""
    assert customer_of(stored(event)) == "c"


@pytest.mark.parametrize("event", [b"", b"no event", b"[]", b'{"customer_id":5}'])
def test_what_is_no_event_has_neither_customer_nor_time(event: bytes) -> None:
    """It raises nothing."""
    assert customer_of(stored(event)) == ""
    assert issued_at_of(event) is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b'{"issued_at":"1970-01-01T00:00:05Z"}', 5.0),
        (b'{"issued_at":"soon"}', None),
        (b'{"issued_at":5}', None),
        (b'{"n":1}', None),
    ],
)
def test_the_time_is_read_where_it_is_one(text: bytes, moment: float | None) -> None:
    """As the API reads it."""
    assert issued_at_of(text) == moment


def test_work_says_how_much_it_is() -> None:
    """And, if it was interrupted, that it was."""
    work = StoreWork(7, [lambda: 1, lambda: 2])
    assert repr(work) == "<StoreWork 7, 2 steps>"
    errors = [each for each in work.interrupted.results if isinstance(each, StoreError)]
    assert [str(each) for each in errors] == ["the work on the store was interrupted"] * 2
