"""Names that do not exist: the error says which one is meant."""

from __future__ import annotations

import re
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import masivo
from masivo import (
    AsyncClient,
    Client,
    FailedEvent,
    FlushResult,
    MasivoError,
    SendEventResult,
    Stats,
    TrioClient,
    _guard,
    _guesses,
)
from masivo._async.client import AsyncDelivery
from masivo._sync.client import Delivery
from masivo.emulator import Emulator, RecordedRequest
from masivo.protocol import ClientOptions
from masivo.testing import MasivoClock, MasivoEvents

STATS = Stats(2, 0, 0, 0, 0, 0, 0, 0, 0, queued=2, in_flight=0, spooled=0, oldest=None)
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
        (Client, "brand_id", ": settings are arguments of the constructor; keep what you need"),
        (Client, "debug", ": set MASIVO_LOG=debug in the environment"),
        (Client, "last_error", ": set on_error, which gets each failed event with its error"),
        (Client, "start", ": nothing has to be started: the first event does it"),
        (AsyncClient, "sync", ": use await flush(), which waits"),
        (Client, "is_closed", "a call to a closed client raises MasivoClosedError"),
        (Client, "people_set", "there are only events, each with its customer_id"),
        (Client, "terminate", ": use close()"),
        (AsyncClient, "quit", ": use await aclose()"),
        (Client, "opt_out", ": enabled is an argument of the constructor"),
        (AsyncClient, "abort", ": use destroy(), which fails all pending events"),
        (Client, "on_success", ": pass on_error, or on_activity, to the constructor"),
        (Client, "getStats", ": use stats()"),
        (Client, "colour", "'Client' object has no attribute 'colour'"),
    ],
)
def test_of_clients(kind: Any, name: str, meant: str) -> None:
    """For methods that other packages have, and those of another world."""
    client = kind(**LOCAL)
    with pytest.raises(AttributeError) as caught:
        getattr(client, name)
    assert meant in str(caught.value)
    assert caught.value.name == name
    assert not hasattr(client, name)
    client.destroy()


def test_of_settings() -> None:
    """A client does not show its settings; for each of them, the error says where they belong."""
    client = Client(**LOCAL)
    for name in ("api_key", "http_client", *ClientOptions.__annotations__):
        with pytest.raises(AttributeError, match="settings are arguments of the constructor"):
            getattr(client, name)
    client.destroy()


@pytest.mark.parametrize("kind", [Client, AsyncClient, TrioClient])
@pytest.mark.parametrize("name", ["enabled", "on_error", "timeout", "disabled", "debug"])
def test_a_setting_that_is_set_later(kind: Any, name: str) -> None:
    """It would have no effect, so it is an error; other attributes can be set, as mocks do."""
    client = kind(**LOCAL)
    with pytest.raises(AttributeError) as caught:
        setattr(client, name, None)
    assert str(caught.value) == f"{name!r} cannot be set: settings are arguments of the constructor"
    assert (caught.value.name, caught.value.obj) == (name, None)  # no guess of Python's own
    client.send_analytics_event = client.destroy
    client.send_analytics_event()


def test_a_subclass_has_attributes_of_its_own() -> None:
    """Even under the name of a setting."""

    class Shop(Client):
        def __init__(self, timeout: float) -> None:
            self.timeout = timeout
            super().__init__(**LOCAL)

    shop = Shop(3.0)
    assert shop.timeout == 3.0
    shop.destroy()


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        (Delivery, "add_done_callback", "set on_error, or on_activity, of the client"),
        (Delivery, "status", "use result(), which gives a SendEventResult, or raises the error"),
        (Delivery, "is_done", ": use done()"),
        (Delivery, "cancel", ": an event cannot be taken back; the client's destroy() drops all"),
        (Delivery, "spooled", ": it is an attribute of the error: use exception()"),
        (AsyncDelivery, "event", ": a delivery has the outcome only; keep the event"),
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
        ("createClient", ": use Client(api_key)"),
        ("send_analytics_event", ": use Client(), and its send_analytics_event(event)"),
        ("flush", ": it is a method of a Client"),
        ("ValidationError", ": use MasivoValidationError"),
        ("RateLimitError", ": use MasivoError, which has the HTTP status"),
        ("exceptions", ": use the errors in masivo, such as masivo.MasivoError"),
        ("MasivoEvents", ": use masivo.testing.MasivoEvents"),
        ("BatchConfig", ": use the options of Client"),
        ("MasivoTimeoutError", ": use Python's own TimeoutError"),
        ("EventType", ": use a str, such as 'ADD_TO_CART'"),
        ("VERSION", ": use __version__"),
        ("Analytics", ": use Client"),
        ("aio", ": use AsyncClient"),
        ("QueueFull", ": use MasivoQueueFullError"),
        ("colour", "module 'masivo' has no attribute 'colour'"),
    ],
)
def test_of_the_package(name: str, meant: str) -> None:
    """For classes and functions that other packages have."""
    with pytest.raises(AttributeError) as caught:
        getattr(masivo, name)
    assert str(caught.value).endswith(meant)
    assert not hasattr(masivo, name)


@pytest.mark.parametrize("name", ["emulator", "opentelemetry", "testing"])
def test_of_a_module(name: str) -> None:
    """A public module that was not imported has to be, and the import still finds it."""
    program = (
        f"import masivo\ntry:\n    masivo.{name}\nexcept AttributeError as error:\n"
        f"    print(error)\nfrom masivo import {name}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8"
    )
    assert done.stdout == (
        f"module 'masivo' has no attribute '{name}': import it first: import masivo.{name}\n"
    )


@pytest.mark.parametrize(
    ("value", "name", "meant"),
    [
        (SendEventResult(True, 200), "status_code", ": use status"),
        (
            SendEventResult(True, 200),
            "colour",
            "'SendEventResult' object has no attribute 'colour'",
        ),
        (FlushResult(1, 0), "sent", ": use delivered"),
        (STATS, "pending", ": add up queued, in_flight and spooled"),
        (FailedEvent({}, MasivoError("x")), "exception", ": use error"),
        (FailedEvent({}, MasivoError("x")), "retryable", ": use error.retryable"),
        (MasivoError("x"), "errors", ": use details"),
        (MasivoError("x"), "event", ": set on_error, which gets the event with its error"),
    ],
)
def test_of_values(value: object, name: str, meant: str) -> None:
    """For the fields of results, counters and errors."""
    with pytest.raises(AttributeError) as caught:
        getattr(value, name)
    assert str(caught.value).endswith(meant)
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("thing", "name", "ends"),
    [
        (Client, "push", r"use send_analytics_event\(event\)"),  # Python would add: 'flush'?
        (Client, "wait", r"use flush\(\), which waits for every event so far"),  # '_wait'?
        (Client, "flsh", r"has no attribute 'flsh'\. Did you mean.* '\.?flush'.*\?"),
        (STATS, "queue", "use queued"),
        (STATS, "quued", r"has no attribute 'quued'\. Did you mean.* '\.?queued'.*\?"),
    ],
)
def test_advice_stands_alone(
    thing: Any, name: str, ends: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python's traceback adds a guess of its own only where there is no advice."""
    thing = thing(**LOCAL) if thing is Client else thing
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    sys.__excepthook__(AttributeError, caught.value, None)
    assert re.search(f"{ends}$", capsys.readouterr().err.rstrip())


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


def test_what_a_shell_completes_of_the_package() -> None:
    """The public names, and none that the package imports for itself."""
    names = {name for name in dir(masivo) if not name.startswith("_")}
    modules = {name for name in names if isinstance(getattr(masivo, name), ModuleType)}
    assert names - modules == {*masivo.__all__} - {"__version__"}


def test_help_and_completion_without_trio() -> None:
    """``dir`` leaves out what cannot be imported: ``help`` and a shell get every name of it."""
    program = (
        "import sys; sys.modules['trio'] = None\nimport inspect, masivo\n"
        "print(*(name for name, _ in inspect.getmembers(masivo, inspect.isclass)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8"
    )
    assert {*done.stdout.split()} == {*masivo.__all__} - {"TrioClient", "__version__"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MASIVO_DISABLE", "MASIVO_DISABLED"),
        ("MASIVO_ENABLED", "MASIVO_DISABLED"),
        ("MASIVO_SPOOL_DIR", "MASIVO_SPOOL"),
        ("MASIVO_SPOOLS", "MASIVO_SPOOL"),
        ("MASIVO_URL", "MASIVO_BASE_URL"),
        ("MASIVO_DEBUG", "MASIVO_LOG"),
    ],
)
def test_of_environment_variables(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong one would have no effect, and nothing would say so; one warning of each does."""
    monkeypatch.setattr(_guesses, "_told", set[str]())
    monkeypatch.setenv(name, "a secret")
    for each in ("MASIVO_DISABLED", "MASIVO_SPOOL", "MASIVO_BASE_URL", "MASIVO_LOG"):
        monkeypatch.delenv(each, raising=False)
    local = "http://127.0.0.1:9/v1"
    given: dict[str, Any] = {} if meant == "MASIVO_BASE_URL" else {"base_url": local}
    with monkeypatch.context() as outside:  # of tests, whose clients are not the program's
        outside.setattr(_guard, "loopback_only", False)
        outside.delenv("MASIVO_LOOPBACK_ONLY", raising=False)
        for _ in range(2):
            Client("k-1", **given).destroy()
    text = f"{name} is set, but masivo does not read it; did you mean {meant}?"
    assert caplog.messages == [text]


@pytest.mark.parametrize(
    "environ",
    [
        {"MASIVO_SPOOL_DIR": "x", "MASIVO_SPOOL": ""},
        {"MASIVO_TIMEOUT": "3"},
        {"MASIVO_API_KEY": "k"},
        {"MASIVO_RELAY_KEYS": "k", "MASIVO_RELAY_REDIS": "redis://127.0.0.1"},
        {"MASIVO_LOOPBACK_ONLY": "1"},
        {"MY_MASIVO_SPOOL_DIR": "x"},
    ],
)
def test_other_variables_are_an_application_s_own(environ: dict[str, str]) -> None:
    """No warning about those, nor about one whose meaning is set anyway."""
    assert _guesses.misnamed(environ, []) == []


def test_a_variable_for_a_setting_that_is_given_is_an_application_s_own() -> None:
    """It may be where the setting comes from."""
    assert _guesses.misnamed(["MASIVO_SPOOL_DIR"], ["spool"]) == []
    assert _guesses.misnamed(["MASIVO_ENABLE"], ["enabled"]) == []
