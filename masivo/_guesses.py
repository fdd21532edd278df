"""The advice for names that do not exist, and the names that a shell completes."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["SETTINGS", "Advised", "misnamed", "no_name", "public_names"]

_SEND: Final = "use send_analytics_event(event)"
_SENDING: Final = (
    *("send", "send_event", "track", "track_event", "emit", "capture", "enqueue", "put", "add"),
    *("push", "publish", "submit", "event", "log", "log_event", "record", "report", "create_event"),
    *("send_analytics", "post", "deliver", "produce", "dispatch", "collect", "insert"),
)
_PROFILES: Final = (
    *("identify", "group", "alias", "page", "screen", "reset", "register", "people", "people_set"),
    *("set_user_id", "set_group", "revenue"),
)
SETTINGS: Final = (
    *("settings", "config", "options", "api_key", "base_url", "brand_id", "enabled", "timeout"),
    *("spool", "spool_max_bytes", "batch_size", "idle_timeout", "max_wait", "await_linger"),
    *("refresh_interval", "max_retries", "max_in_flight", "max_queue", "max_queue_bytes"),
    *("max_event_bytes", "max_batch_bytes", "isolate_rejected", "on_error", "on_activity"),
    *("before_send", "http_client", "api"),
    *("key", "host", "api_host", "disabled", "on_failure", "flush_interval", "sync_mode"),
    *("test_mode", "debug"),
)
"""A client's settings, and other packages' names for them."""
_CLIENT: Final = {
    **dict.fromkeys(_SENDING, _SEND),
    **dict.fromkeys(
        (
            *("send_batch", "send_events", "send_many", "send_all", "send_analytics_events"),
            *("batch", "bulk"),
        ),
        f"{_SEND} for each event; batches form by themselves",
    ),
    **dict.fromkeys(_PROFILES, f"{_SEND}: there are only events, each with its customer_id"),
    **dict.fromkeys(("wait", "join", "sync"), "use flush(), which waits for every event so far"),
    **dict.fromkeys(
        (
            *("queue", "queue_size", "pending", "size", "metrics", "events", "delivered"),
            *("counters", "status", "state", "get_stats", "get_metrics"),
        ),
        "use stats()",
    ),
    **dict.fromkeys(SETTINGS, "settings are arguments of the constructor; keep what you need"),
    **dict.fromkeys(
        ("disable", "enable", "is_enabled", "opt_out", "opt_in"),
        "enabled is an argument of the constructor, and MASIVO_DISABLED=1 the same for all clients",
    ),
    **dict.fromkeys(
        ("abort", "kill", "clear", "purge", "discard", "drop"),
        "use destroy(), which fails all pending events",
    ),
    **dict.fromkeys(
        ("on", "on_success", "add_listener", "add_callback", "subscribe"),
        "pass on_error, or on_activity, to the constructor",
    ),
    **dict.fromkeys(("debug", "verbose"), "set MASIVO_LOG=debug in the environment"),
    **dict.fromkeys(
        ("errors", "last_error", "failures", "dead_letters"),
        "set on_error, which gets each failed event with its error",
    ),
    **dict.fromkeys(("open", "start", "run"), "nothing has to be started: the first event does it"),
    **dict.fromkeys(
        ("closed", "is_closed", "is_open"),
        "repr() shows it, and a call to a closed client raises MasivoClosedError",
    ),
    **dict.fromkeys(
        ("token", "authorize", "login", "authenticate", "connect", "ping", "health", "check"),
        "use get_token()",
    ),
}
_PACKAGE: Final = {
    **dict.fromkeys(
        (*_SENDING, *_PROFILES, "send_analytics_event", "sendAnalyticsEvent"),
        f"use Client(), and its {_SEND.removeprefix('use ')}",
    ),
    **dict.fromkeys(("flush", "close", "destroy"), "it is a method of a Client"),
    "shutdown": "use close() of a Client",
    **dict.fromkeys(
        (
            *("init", "setup", "configure", "api_key", "key", "write_key", "create_client"),
            "createClient",
        ),
        "use Client(api_key)",
    ),
    **dict.fromkeys(
        (
            *("Masivo", "MasivoClient", "SyncClient", "EventClient", "client", "get_client"),
            *("default_client", "ThreadClient", "Analytics", "Posthog", "Mixpanel", "Amplitude"),
            "Tracker",
        ),
        "use Client",
    ),
    **dict.fromkeys(
        (
            *("AsyncMasivo", "AsyncMasivoClient", "MasivoAsyncClient", "MasivoAsync"),
            *("AsyncioClient", "AsyncAnalytics", "aio", "asyncio"),
        ),
        "use AsyncClient",
    ),
    **dict.fromkeys(("trio", "MasivoTrioClient"), "use TrioClient"),
    **dict.fromkeys(("Event", "MasivoEvent", "BaseEvent"), "use AnalyticsEvent, or a dict"),
    "QueueFull": "use MasivoQueueFullError",
    "ClientStats": "use Stats",
    **dict.fromkeys(
        ("Config", "Settings", "Options", "MasivoConfig", "BatchConfig", "Retry", "RetryPolicy"),
        "use the options of Client",
    ),
    **dict.fromkeys(("SendResult", "Result", "EventResult"), "use SendEventResult"),
    **dict.fromkeys(
        (
            *("APIError", "ApiError", "MasivoAPIError", "MasivoApiError", "MasivoHTTPError"),
            *("MasivoException", "RateLimitError", "MasivoRateLimitError"),
        ),
        "use MasivoError, which has the HTTP status",
    ),
    **dict.fromkeys(("AuthenticationError", "MasivoAuthenticationError"), "use MasivoAuthError"),
    **dict.fromkeys(
        ("exceptions", "errors"), "use the errors in masivo, such as masivo.MasivoError"
    ),
    **dict.fromkeys(("Emulator", "MasivoEmulator"), "use masivo.emulator.Emulator"),
    **{
        name: f"use masivo.testing.{name}"
        for name in ("MasivoClock", "MasivoEvents", "MasivoTestCase")
    },
    "MasivoInstrumentor": "use masivo.opentelemetry.instrument(client)",
    **dict.fromkeys(("MasivoTimeoutError", "TimeoutError"), "use Python's own TimeoutError"),
    **dict.fromkeys(("EventType", "EventTypes", "ADD_TO_CART"), "use a str, such as 'ADD_TO_CART'"),
    **dict.fromkeys(("types", "models"), "use the classes in masivo, such as masivo.Stats"),
    "Spool": "use Client(spool=DIR)",
    "Relay": "run the command masivo relay",
    **dict.fromkeys(("version", "VERSION"), "use __version__"),
}
_MODULES: Final = ("emulator", "opentelemetry", "protocol", "spool", "testing")
"""The package's public modules, which have to be imported."""
_ENDS: Final = ("shutdown", "stop", "disconnect", "terminate", "quit", "exit", "close", "aclose")
_RESULT: Final = "a SendEventResult, or raises the error"
_DELIVERY: Final = (
    *("result", "wait", "get", "status", "success", "data", "ok", "failed", "error"),
    *("value", "response", "delivered", "exc", "get_result"),
)
_OF_DELIVERY: Final = {
    **dict.fromkeys(
        ("add_done_callback", "add_callback", "then"), "set on_error, or on_activity, of the client"
    ),
    **dict.fromkeys(("is_done", "finished", "completed", "ready"), "use done()"),
    **dict.fromkeys(
        ("cancel", "revoke"), "an event cannot be taken back; the client's destroy() drops all"
    ),
    **dict.fromkeys(("spooled", "retryable"), "it is an attribute of the error: use exception()"),
    **dict.fromkeys(("event", "id", "event_id"), "a delivery has the outcome only; keep the event"),
}
_KIT: Final = {
    "MasivoEvents": {
        **dict.fromkeys(
            (
                *("expect_one", "expect_event", "expect_sent", "assert_sent", "assert_event"),
                *("assert_called", "assert_called_once", "assert_called_with", "assert_any_call"),
                *("find", "filter", "get"),
            ),
            "use expect(type=…), which returns the event",
        ),
        **dict.fromkeys(
            ("expect_count", "assert_count", "expect_many"), "use expect(type=…, count=2)"
        ),
        **dict.fromkeys(
            ("assert_none", "assert_not_sent", "expect_not", "expect_no", "expect_nothing"),
            "use expect_none(type=…)",
        ),
        **dict.fromkeys(("wait", "wait_for"), "use expect(type=…, timeout=5)"),
        "assert_delivered": "use expect_delivered()",
        **dict.fromkeys(("sent", "events", "received", "list"), "use all, the list of the events"),
        **dict.fromkeys(("first", "last"), "use masivo_events[0], masivo_events[-1]"),
        "reset": "use clear()",
    },
    "MasivoClock": {
        **dict.fromkeys(
            (
                *("tick", "sleep", "forward", "fast_forward", "step", "shift", "jump", "run"),
                *("wait", "travel", "move_to"),
            ),
            "use advance(30), in seconds",
        ),
        **dict.fromkeys(("now", "utcnow", "monotonic"), "use time(), or elapsed"),
    },
    "Emulator": {
        **dict.fromkeys(
            (
                "fail_next",
                "down",
                "outage",
                "pause",
                "respond",
                "error",
                "set_status",
                "raise_error",
            ),
            "use fail(503, route='events')",
        ),
        **dict.fromkeys(
            ("delay", "latency", "slow", "timeout"),
            "use fail(masivo.emulator.Fault(delay=2))",
        ),
        **dict.fromkeys(("recover", "restore", "up"), "use heal()"),
        "reset": "use clear() for what it recorded, heal() for faults",
        **dict.fromkeys(("received", "accepted", "sent"), "use events"),
        **dict.fromkeys(("calls", "history"), "use requests"),
        "count": "use event_count",
        **dict.fromkeys(
            ("wait", "wait_for_event", "wait_for_events", "wait_until"),
            "use wait_for(lambda emulator: emulator.event_count == 1)",
        ),
        **dict.fromkeys(("base_url", "port", "address"), "use url"),
        **dict.fromkeys(("api_key", "key"), "use client_key"),
        **dict.fromkeys(("close", "shutdown"), "use stop()"),
        "quota": "use Emulator(daily_quota=10)",
    },
    "RecordedRequest": {
        "status_code": "use status",
        "url": "use path",
        **dict.fromkeys(("json", "data", "payload"), "use events, or body"),
        **dict.fromkeys(("text", "content"), "use body"),
    },
    "MasivoTestCase": {
        **dict.fromkeys(
            ("masivo_events", "masivo_emulator"),
            "a setUp of your own must call super().setUp() first, which makes it",
        ),
        "events": "use masivo_events",
        "emulator": "use masivo_emulator",
        "masivo_clock": "virtual time needs pytest",
    },
}
"""For each class of the test kit, names that one might guess."""
_VARIABLES: Final = {
    "base_url": "MASIVO_BASE_URL",
    "enabled": "MASIVO_DISABLED",
    "log": "MASIVO_LOG",
    "spool": "MASIVO_SPOOL",
}
"""The environment variables that change a client in silence, by what they set."""
_READ: Final = frozenset(
    {
        *_VARIABLES.values(),
        *("MASIVO_API_KEY", "MASIVO_LOOPBACK_ONLY", "MASIVO_RELAY_KEYS", "MASIVO_RELAY_REDIS"),
    }
)
"""All that masivo reads."""
_VARIABLE: Final = {
    **dict.fromkeys(("enabled", "enable", "off"), "enabled"),
    **dict.fromkeys(("debug", "verbose", "log_level", "loglevel", "logging"), "log"),
}
"""What is meant by a wrong variable, by the part of its name after ``MASIVO_``. Other packages'
names for settings count, too."""
_told: set[str] = set()  # the wrong ones that were reported
_OF_DRIVERS: Final = frozenset(
    ("at", "buffer", "claim", "customer", "encoded", "outcome", "peek", "position")
)
"""The attributes of deliveries that are for drivers, not for callers."""


class Advised:
    """A class whose error for a missing attribute says which name is meant."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            kind = type(self)
            text = f"{kind.__name__!r} object has no attribute {name!r}"
            meant = _meant(kind, name)
            if meant:  # without ``obj``, for which Python's traceback adds a guess of its own
                raise AttributeError(f"{text}: {meant}", name=name)
            raise AttributeError(text, name=name, obj=self)


def _meant(kind: type, name: str) -> str | None:
    for base in kind.__mro__:
        if base.__name__ in _KIT:
            return _KIT[base.__name__].get(name)
    waits = hasattr(kind, "__await__") or hasattr(kind, "aclose")  # in a loop
    if not hasattr(kind, "send_analytics_event"):
        if name not in _DELIVERY:
            return _OF_DELIVERY.get(name)
        way = "await the delivery: it gives" if waits else "use result(), which gives"
        return f"{way} {_RESULT}"
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()  # sendAnalyticsEvent
    meant = _CLIENT.get(plain)
    if name in _ENDS:
        meant = "use aclose()" if waits else "use close()"
    elif plain != name and hasattr(kind, plain):
        meant = _SEND if plain in _SEND else f"use {plain}()"
    if meant is not None and waits:
        meant = re.sub(r"^use (?=aclose|flush|get_token)", "use await ", meant)
    return meant


def public_names(delivery: object) -> list[str]:
    """The names of a delivery that a shell completes."""
    return sorted({*dir(type(delivery))} - _OF_DRIVERS)


def no_name(package: str, names: list[str], name: str) -> AttributeError | ImportError:
    """The error for a name that the package does not have.

    Args:
        package: the package's name.
        names: the names that it has.
        name: the name that was asked for.
    """
    meant = _PACKAGE.get(name)
    if f"Masivo{name}" in names:  # ValidationError
        meant = f"use Masivo{name}"
    text = f"module {package!r} has no attribute {name!r}"
    if name in _MODULES:  # an import looks for an attribute first
        return AttributeError(f"{text}: import it first: import masivo.{name}", name=name)
    if meant is None:
        return AttributeError(text, name=name)
    # ``from masivo import X`` replaces an AttributeError by one of its own, without the advice.
    importer = sys._getframe(2).f_globals.get("__name__")  # noqa: SLF001 (it has no other name)
    if importer == "importlib._bootstrap":
        return ImportError(f"cannot import name {name!r} from {package!r}: {meant}", name=package)
    return AttributeError(f"{text}: {meant}", name=name)


def misnamed(environ: Collection[str], given: Collection[str]) -> list[str]:
    """Warnings about environment variables that masivo does not read, and whose names are close to
    those of ours. Each is returned once in a process, and none about what is set anyway.

    Args:
        environ: the names of the variables that are set.
        given: the settings that the client was given.
    """
    found: list[str] = []
    for name in environ:
        if name.startswith("MASIVO_") and name not in _READ and name not in _told:
            setting = _set_by(name.removeprefix("MASIVO_").lower())
            meant = _VARIABLES.get(setting)
            if meant not in (None, *environ) and setting not in given:
                _told.add(name)
                found.append(f"{name} is set, but masivo does not read it; did you mean {meant}?")
    return found


def _set_by(end: str) -> str:
    """The key in ``_VARIABLES`` that is meant by the end of a variable's name; empty if none is."""
    from difflib import get_close_matches  # only a mistake pays for it

    from masivo._protocol.advice import MEANT

    meant = _VARIABLE.get(end) or MEANT.get(end)
    if meant is None:
        ends = {each.removeprefix("MASIVO_").lower(): name for name, each in _VARIABLES.items()}
        meant = "".join(ends[near] for near in get_close_matches(end, ends, 1, 0.8))
    return meant
