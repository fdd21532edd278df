"""The client over real sockets, where its face is more than that of the core: settings of the
environment, arguments, sessions. What holds for every driver is in the conformance suite."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import httpx
import pytest

from masivo import (
    AnalyticsEvent,
    Api,
    AsyncClient,
    Client,
    FlushResult,
    MasivoConfigError,
    MasivoValidationError,
    TrioClient,
)

from .events import arrived, event, sent, statuses

if TYPE_CHECKING:
    from masivo.emulator import Emulator

    from .conftest import Connect


# ── The constructor ──────────────────────────────────────────────────────────────────────────


def test_the_key_comes_from_the_environment(
    connect: Connect, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without arguments, MASIVO_API_KEY and MASIVO_BASE_URL count; without a key both ways are
    named."""
    with pytest.raises(MasivoConfigError, match="MASIVO_API_KEY"):
        connect(api_key=None)
    monkeypatch.setenv("MASIVO_API_KEY", emulator.client_key)
    monkeypatch.setenv("MASIVO_BASE_URL", emulator.url)
    client = connect(api_key=None, base_url=None)
    client.send_analytics_event(event(1))
    assert client.flush(5) == FlushResult(1, 0)
    assert arrived(emulator) == [1]


def test_a_client_that_the_environment_disables_sends_nothing(
    connect: Connect, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With MASIVO_DISABLED=1 no key is needed, and every call works but ``get_token``."""
    monkeypatch.setenv("MASIVO_DISABLED", "1")
    client = connect(api_key=None)
    assert client.send_analytics_event(event()).result(0).success is False
    with pytest.raises(MasivoValidationError):
        client.send_analytics_event({"type": "X"})
    assert client.flush(1) == FlushResult(0, 0)
    client.drain(1)
    with pytest.raises(MasivoConfigError):
        client.get_token(1)
    client.close()
    assert emulator.requests == []


def test_other_keys_and_choices_are_apart(connect: Connect, emulator: Emulator) -> None:
    """Another ``base_url``, ``api`` or ``http_client`` means another token; the same, though
    written differently, does not."""
    with httpx.Client() as mine:
        clients = [
            connect(),
            connect(base_url=emulator.url.replace("127.0.0.1", "localhost")),
            connect(api=Api(stamp_issued_at=False)),
            connect(http_client=mine),
        ]
        tokens = [client.get_token(5) for client in clients]
        assert len(set(tokens)) == len(clients)
        same = connect(base_url=emulator.url + "/", api=Api(events_key="events"))
        assert same.get_token(5) == tokens[0]
        assert len(emulator.authorizations) == len(clients)
        for client in clients:
            client.close()


# ── Calls ────────────────────────────────────────────────────────────────────────────────────


EXAMPLES: dict[object, object] = {
    str: "x",
    bool: True,
    float: 1.5,
    type(None): None,
    Any: dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1),  # of issued_at
    list[str]: ["x"],
    Mapping[str, object]: {},
    list[Mapping[str, object]]: [{}],
}
"""A value of each type that AnalyticsEvent names."""


def test_what_the_type_describes_is_taken(connect: Connect, emulator: Emulator) -> None:
    """Every field of AnalyticsEvent, with a value of every type that it may have, is taken by the
    client, and is what the API's schema says."""
    client = connect()
    deliveries = {
        (field, kind): client.send_analytics_event(event(0, **{field: EXAMPLES[kind]}))
        for field, hint in get_type_hints(AnalyticsEvent).items()
        for kind in (get_args(hint) if isinstance(hint, UnionType) else (hint,))
    }
    client.flush(10)
    assert [which for which, each in deliveries.items() if each.exception(5)] == []
    assert emulator.event_count == len(deliveries) > 10


def test_waits_that_run_out_are_timeouts(connect: Connect, emulator: Emulator) -> None:
    """Each call raises a TimeoutError that says what is not yet so; the event stays pending."""
    tried = threading.Event()

    def respond_later(_: object) -> None:
        assert tried.wait(20)

    emulator.on_request = respond_later
    client = connect(batch_size=1, max_queue=1)
    delivery = client.send_analytics_event(event(1))
    for wait, said in (
        (delivery.result, "the event has no outcome yet; it stays pending"),
        (delivery.exception, "the event has no outcome yet; it stays pending"),
        (client.flush, "not every event has its outcome yet; they stay pending"),
        (client.drain, "the buffer has no room yet"),
        (client.get_token, "there is no token yet"),
    ):
        with pytest.raises(TimeoutError, match=said):
            wait(0.02)
    assert not delivery.done()
    tried.set()
    assert delivery.result(5).success
    assert arrived(emulator) == [1]


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_a_wrong_timeout_is_refused(connect: Connect, timeout: Any) -> None:
    """A timeout is a number of seconds from 0 on, or None."""
    client = connect()
    delivery = client.send_analytics_event(event())
    for wait in (delivery.result, client.flush, client.get_token, client.close):
        with pytest.raises(MasivoConfigError):
            wait(timeout)


def test_a_block_that_is_left_by_an_exception_delivers(
    connect: Connect, emulator: Emulator
) -> None:
    """``with`` closes, and so delivers, however its block is left."""

    def block() -> None:
        with connect() as client:
            client.send_analytics_event(event(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert arrived(emulator) == [1]


def test_a_server_that_comes_back(connect: Connect, emulator: Emulator) -> None:
    """Events outlive a server's restart: what is retried arrives, in order."""
    # Enough retries for a machine that takes seconds to start the server again.
    client = connect(batch_size=2, max_retries=20)
    client.get_token(5)
    emulator.stop()
    for n in range(6):
        client.send_analytics_event(event(n))
    with pytest.raises(TimeoutError):
        client.flush(0.1)
    emulator.start()
    assert client.flush(20).delivered == 6
    assert arrived(emulator) == list(range(6))
    assert [sent(batch) for batch in emulator.batches] == [[0, 1], [2, 3], [4, 5]]
    assert statuses(emulator.batches) == [200] * 3


@pytest.mark.parametrize("kind", [Client, AsyncClient, TrioClient])
def test_a_client_that_was_not_made_can_be_shown(kind: type[object]) -> None:
    """As a debugger or a traceback shows it that comes out of the constructor."""
    assert repr(kind.__new__(kind)) == f"<{kind.__name__} not made>"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_disabled_client_says_so(kind: Any, emulator: Emulator) -> None:
    """Or nobody would see why nothing arrives."""
    client = kind(emulator.client_key, base_url=emulator.url, enabled=False)
    assert repr(client) == f"<{kind.__name__} {emulator.url} disabled>"
    client.destroy()
    assert repr(client) == f"<{kind.__name__} {emulator.url} closed>"


def test_nothing_shows_a_secret(connect: Connect, emulator: Emulator) -> None:
    """``repr`` of clients, deliveries and results has neither key nor token."""
    client = connect()
    token = client.get_token(5)
    delivery = client.send_analytics_event(event(customer_id="c-private"))
    shown = f"{client!r} {delivery!r} {client.stats()!r}"
    client.flush(5)
    shown += f" {client!r} {delivery!r} {delivery.result(0)!r}"
    client.close()
    shown += f" {client!r}"
    for secret in (emulator.client_key, token, "c-private"):
        assert secret not in shown
    assert "open" in shown
    assert "closed" in shown
