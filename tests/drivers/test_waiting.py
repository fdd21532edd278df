"""Waiting and ending over real sockets: flush, drain, get_token, close, destroy
(``docs/reference/guarantees.md#batches-and-triggers``;
``docs/reference/guarantees.md#closing-and-exit``)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from masivo import FlushResult, MasivoClosedError, MasivoError, MasivoQueueFullError
from masivo.emulator import Emulator, Fault

from .events import arrived, event

if TYPE_CHECKING:
    from .conftest import Connect, Make
    from .worlds import AnyDelivery


# ── flush, drain, get_token ──────────────────────────────────────────────────────────────────


def test_flush_of_nothing_is_immediate(connect: Connect, emulator: Emulator) -> None:
    """Without events ``flush`` returns zeros, and sends nothing."""
    client = connect()
    assert client.flush(1) == FlushResult(0, 0)
    client.close()
    assert emulator.requests == []


def test_flush_waits_for_what_is_in_flight(connect: Connect, emulator: Emulator) -> None:
    """Events in a batch on its way count too, and failures do not raise."""
    emulator.reject = lambda e: "bad" if e.get("referral_code") == "bad" else None
    emulator.fail(Fault(delay=0.2), route="events")
    client = connect(batch_size=2)
    for n in range(2):
        client.send_analytics_event(event(n))
    emulator.wait_for(lambda e: len(e.batches) == 1)
    client.send_analytics_event(event(2, referral_code="bad"))
    assert client.flush(5) == FlushResult(2, 1)


def test_a_refused_flush_counts_for_the_next(connect: Connect, emulator: Emulator) -> None:
    """A flush that timed out has told nothing: the next one tells it all."""
    emulator.fail(Fault(delay=0.3), route="events")
    client = connect()
    client.send_analytics_event(event())
    with pytest.raises(TimeoutError):
        client.flush(0.05)
    assert client.flush(5) == FlushResult(1, 0)


def test_drain_waits_for_room_and_sends(connect: Connect, emulator: Emulator) -> None:
    """A full buffer refuses; ``drain`` returns when there is room, and times out when not."""
    emulator.fail(Fault(delay=0.2), route="events")
    client = connect(max_queue=4, batch_size=2)
    for n in range(4):
        client.send_analytics_event(event(n))
    refused = client.send_analytics_event(event(99))
    assert refused.done()
    assert isinstance(refused.exception(0), MasivoQueueFullError)
    with pytest.raises(TimeoutError):
        client.drain(0.02)
    client.drain(5)
    client.send_analytics_event(event(4))
    assert client.flush(5).delivered == 5
    assert arrived(emulator) == [0, 1, 2, 3, 4]
    assert client.stats().overflowed == 1


def test_a_producer_that_drains_loses_nothing(connect: Connect, emulator: Emulator) -> None:
    """With ``drain`` before each event, a small buffer takes any number of them."""
    client = connect(max_queue=20, batch_size=10)
    deliveries: list[AnyDelivery] = []
    for n in range(300):
        client.drain(10)
        deliveries.append(client.send_analytics_event(event(n)))
    assert client.flush(10) == FlushResult(300, 0)
    assert all(delivery.result(0).success for delivery in deliveries)
    assert arrived(emulator) == list(range(300))


def test_get_token_authorizes(connect: Connect, emulator: Emulator) -> None:
    """``get_token`` fetches the token if need be, once, and it is the one that batches use."""
    client = connect()
    token = client.get_token(5)
    assert client.get_token(5) == token
    client.send_analytics_event(event())
    client.flush(5)
    assert emulator.batches[0].headers["authorization"] == f"Bearer {token}"
    assert len(emulator.authorizations) == 1


def test_get_token_does_not_wait_for_a_batch(connect: Connect, emulator: Emulator) -> None:
    """A token that is there is given at once, while a request hangs."""
    client = connect()
    token = client.get_token(5)
    emulator.fail(Fault(delay=30), route="events")
    client.send_analytics_event(event())
    with pytest.raises(TimeoutError):
        client.flush(0.05)
    emulator.wait_for(lambda e: len(e.batches) == 1)
    assert client.get_token(1) == token


# ── close and destroy ────────────────────────────────────────────────────────────────────────


def test_close_delivers_what_waits(connect: Connect, emulator: Emulator) -> None:
    """``close`` flushes; afterwards every use is a MasivoClosedError, and closing does nothing."""
    client = connect()
    delivery = client.send_analytics_event(event(1))
    client.close()
    assert delivery.done()
    assert delivery.result(0).success
    assert arrived(emulator) == [1]
    for use in (
        lambda: client.send_analytics_event(event()),
        client.flush,
        client.drain,
        client.get_token,
    ):
        with pytest.raises(MasivoClosedError):
            use()
    client.close()
    client.destroy()


def test_a_block_that_is_left_by_an_exception_delivers(make: Make, emulator: Emulator) -> None:
    """``with`` closes, and so delivers, however its block is left."""

    def block() -> None:
        with make() as client:
            client.send_analytics_event(event(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert arrived(emulator) == [1]


def test_close_ends_in_time_though_the_server_hangs(connect: Connect, emulator: Emulator) -> None:
    """The deadline counts a stuck request too; its events end with MasivoClosedError."""
    emulator.fail(Fault(delay=30), route="events", times=None)
    client = connect()
    delivery = client.send_analytics_event(event())
    client.close(timeout=0.2)
    assert isinstance(delivery.exception(0), MasivoClosedError)
    assert client.stats().failed == 1


def test_close_cuts_a_long_wait_short(connect: Connect, emulator: Emulator) -> None:
    """A wait for a repeat, a Retry-After included, is cut short for one last try."""
    emulator.fail(Fault.unavailable(retry_after=60), route="events")
    client = connect()
    delivery = client.send_analytics_event(event(1))
    with pytest.raises(TimeoutError):
        client.flush(0.3)
    client.close(timeout=5)
    assert delivery.result(0).success
    assert len(emulator.batches) == 2


def test_close_without_a_limit_waits_for_repeats(connect: Connect, emulator: Emulator) -> None:
    """``close(timeout=None)`` goes through the repeats as usual."""
    emulator.fail(Fault.unavailable(retry_after=1), route="events")
    client = connect()
    delivery = client.send_analytics_event(event(1))
    client.close(timeout=None)
    assert delivery.result(0).success
    first, second = emulator.batches
    assert first.responded_at is not None
    assert second.received_at - first.responded_at >= 0.9


def test_close_with_no_time_ends_everything(connect: Connect) -> None:
    """``close(0)`` does not wait."""
    client = connect()
    delivery = client.send_analytics_event(event())
    client.close(timeout=0)
    assert delivery.done()


def test_destroy_sends_nothing(connect: Connect, emulator: Emulator) -> None:
    """``destroy`` ends what waits with MasivoClosedError, at once."""
    client = connect()
    client.get_token(5)
    delivery = client.send_analytics_event(event())
    client.destroy()
    assert delivery.done()
    assert isinstance(delivery.exception(0), MasivoClosedError)
    with pytest.raises(MasivoClosedError):
        client.send_analytics_event(event())
    client.close()
    assert emulator.batches == []


def test_destroy_in_flight_ends_at_once(connect: Connect, emulator: Emulator) -> None:
    """An event whose request is out ends with the ``destroy`` too."""
    emulator.fail(Fault(delay=30), route="events")
    client = connect(batch_size=1)
    delivery = client.send_analytics_event(event())
    emulator.wait_for(lambda e: len(e.batches) == 1)
    client.destroy()
    assert isinstance(delivery.exception(0), MasivoClosedError)


def test_close_wakes_a_waiter(connect: Connect, emulator: Emulator) -> None:
    """Who waits for a delivery elsewhere learns that the client was destroyed."""
    emulator.fail(Fault(delay=30), route="authorize")
    client = connect()
    delivery = client.send_analytics_event(event())
    found: list[MasivoError | None] = []
    waiter = threading.Thread(target=lambda: found.append(delivery.exception(10)))
    waiter.start()
    emulator.wait_for(lambda e: len(e.authorizations) == 1)
    client.destroy()
    waiter.join(5)
    assert isinstance(found[0], MasivoClosedError)
