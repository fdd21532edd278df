"""What the core reads of a stored event (``docs/reference/guarantees.md#damage``)."""

from __future__ import annotations

import pytest

from masivo._protocol.batches.batch import Part
from masivo._protocol.batches.issued_at import Stamper, stamps_of
from masivo._protocol.sending.server_clock import ServerClock
from masivo._protocol.storage.kept import customer_of, issued_at_of, positions_of
from masivo._protocol.storage.store import Stored
from masivo.protocol import Delivery, StoreDone, StoreError, StoreWork
from protocol.live import LiveDriver, LiveLog
from protocol.spooled import SpoolDriver


def stored(event: bytes) -> Stored:
    """An event as it is stored."""
    return Stored(1, event, 0.0, certain=True)


@pytest.mark.parametrize("event", [b'{"customer_id":"c","n":1}', b'"customer_id":"c","n":1}'])
def test_the_customer_is_read_of_an_event_in_either_form(event: bytes) -> None:
    """With its opening brace, or without it, as one that is to be stamped is stored."""
    assert customer_of(stored(event)) == "c"


@pytest.mark.parametrize("event", [b"", b"no event", b"[]", b'{"customer_id":5}', b"{}"])
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


def test_work_gives_a_result_for_each_step() -> None:
    """A driver that hands back another number is at fault, and is told so."""
    driver = SpoolDriver()
    driver.held = True
    driver.buffer.use()
    driver.poll()
    (work,) = driver.works
    driver.engine.hand_back(work.id, StoreDone([]))
    with pytest.raises(ValueError, match="shorter"):
        driver.engine.poll()


def test_a_store_gives_a_position_for_each_event() -> None:
    """One that gives another number is at fault, and the caller is told so."""
    log = LiveLog()
    log.append_all = lambda *_: [1]  # type: ignore[method-assign]  # of this one object
    with pytest.raises(ValueError, match="shorter"):
        LiveDriver(log).buffer.put_all([(b"{}", "c"), (b"{}", "c")])


def test_each_event_has_its_bytes_as_sent() -> None:
    """Another number of these is a fault of the core's, which no batch may hide."""
    deliveries = [Delivery(b"}", 0.0, "c", None)] * 2
    with pytest.raises(ValueError, match="shorter"):
        stamps_of(deliveries, [b"{}"])
    part = Part(deliveries, range(2), [b"{}"], "", 0.0)
    with pytest.raises(ValueError, match="shorter"):
        Stamper(ServerClock(lambda: 0.0)).before(part, 0.0, 0.0)


def test_an_event_in_no_log_has_no_position() -> None:
    """Such as one that could not be stored again."""
    deliveries = [Delivery(b"}", 0.0, "c", None, position=each) for each in (4, None, 0)]
    assert positions_of(deliveries) == [4, 0]
