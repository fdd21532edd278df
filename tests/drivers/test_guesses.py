"""Names that do not exist: the error says which one is meant."""

from __future__ import annotations

from typing import Any

import pytest

import masivo
from masivo import AsyncClient, Client, TrioClient
from masivo._async.client import AsyncDelivery
from masivo._sync.client import Delivery
from masivo.emulator import Emulator, RecordedRequest
from masivo.testing import MasivoClock, MasivoEvents

LOCAL: dict[str, Any] = {"api_key": "k-1", "base_url": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        (Client, "track", ": use send_analytics_event(event)"),
        (Client, "send_events", "for each event; batches form by themselves"),
        (Client, "shutdown", ": use close()"),
        (Client, "aclose", ": use close()"),
        (Client, "join", ": use flush(), which waits for every event so far"),
        (AsyncClient, "send", ": use send_analytics_event(event)"),
        (AsyncClient, "close", ": use await aclose()"),
        (TrioClient, "join", ": use await flush(), which waits"),
        (Client, "sendAnalyticsEvent", ": use send_analytics_event(event)"),
        (Client, "getToken", ": use get_token()"),
        (AsyncClient, "getToken", ": use await get_token()"),
        (AsyncClient, "token", ": use await get_token()"),
        (Client, "identify", "there are only events, each with its customer_id"),
        (Client, "pending", ": use stats()"),
        (Client, "colour", "'Client' object has no attribute 'colour'"),
    ],
)
def test_of_clients(kind: Any, name: str, meant: str) -> None:
    """For methods that other packages have, and those of another world."""
    client = kind(**LOCAL)
    with pytest.raises(AttributeError) as caught:
        getattr(client, name)
    assert meant in str(caught.value)
    assert (caught.value.name, caught.value.obj) == (name, client)
    assert not hasattr(client, name)
    client.destroy()


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        (Delivery, "add_done_callback", "set on_error, or on_activity, of the client"),
        (Delivery, "status", "use result(), which gives a SendEventResult, or raises the error"),
        (AsyncDelivery, "result", "await the delivery: it gives a SendEventResult, or raises"),
        (Delivery, "colour", "'Delivery' object has no attribute 'colour'"),
    ],
)
def test_of_deliveries(kind: Any, name: str, meant: str) -> None:
    """For the outcome, which a caller has to wait for."""
    with pytest.raises(AttributeError) as caught:
        getattr(kind(b"{}", 0.0, None, None), name)
    assert meant in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        (MasivoEvents, "expect_one", ": use expect(type=…), which returns the event"),
        (MasivoClock, "tick", ": use advance(30), in seconds"),
        (Emulator, "fail_next", ": use fail(503, route='events')"),
        (RecordedRequest, "status_code", ": use status"),
        (Emulator, "colour", "'Own' object has no attribute 'colour'"),
    ],
)
def test_of_the_test_kit(kind: Any, name: str, meant: str) -> None:
    """For assertions of mocks, other virtual clocks, other local servers; in subclasses, too."""
    thing = kind.__new__(type("Own", (kind,), {}))
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    assert str(caught.value).endswith(meant)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MasivoClient", "module 'masivo' has no attribute 'MasivoClient': use Client"),
        ("track", ": use Client(), and its send_analytics_event(event)"),
        ("init", ": use Client(api_key)"),
        ("ValidationError", ": use MasivoValidationError"),
        ("RateLimitError", ": use MasivoError, which has the HTTP status"),
        ("exceptions", ": use the errors in masivo, such as masivo.MasivoError"),
        ("MasivoEvents", ": use masivo.testing.MasivoEvents"),
        ("colour", "module 'masivo' has no attribute 'colour'"),
    ],
)
def test_of_the_package(name: str, meant: str) -> None:
    """For classes and functions that other packages have."""
    with pytest.raises(AttributeError) as caught:
        getattr(masivo, name)
    assert str(caught.value).endswith(meant)
    assert not hasattr(masivo, name)


def test_of_an_import() -> None:
    """``from masivo import X`` gives the same advice; a module is imported as usual."""
    advice = "cannot import name 'MasivoClient' from 'masivo': use Client$"
    with pytest.raises(ImportError, match=advice):
        exec("from masivo import MasivoClient")
    with pytest.raises(ImportError, match="cannot import name 'colour' from 'masivo'"):
        exec("from masivo import colour")
    exec("from masivo import emulator, testing")


@pytest.mark.parametrize("kind", [Delivery, AsyncDelivery])
def test_what_a_shell_completes(kind: Any) -> None:
    """What callers use of a delivery, and nothing that is for drivers."""
    names = {name for name in dir(kind(b"{}", 0.0, None, None)) if not name.startswith("_")}
    assert names == {"done", "exception"} | ({"result"} if kind is Delivery else set())
