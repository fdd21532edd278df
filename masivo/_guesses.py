"""The advice for attributes that do not exist, and the names that a shell completes."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["no_attribute", "no_name", "public_names"]

_SEND: Final = "send_analytics_event(event)"
_SENDING: Final = (
    *("send", "send_event", "track", "emit", "capture", "enqueue", "put", "add", "push", "publish"),
    *("event", "log", "log_event", "record", "report", "create_event"),
)
_PROFILES: Final = ("identify", "group", "alias", "page", "screen")
_CLIENT: Final = {
    **dict.fromkeys(_SENDING, _SEND),
    **dict.fromkeys(
        ("send_batch", "send_events", "send_many", "send_analytics_events", "batch"),
        f"{_SEND} for each event; batches form by themselves",
    ),
    **dict.fromkeys(_PROFILES, f"{_SEND}: there are events alone, each with its customer_id"),
    **dict.fromkeys(("wait", "join"), "flush(), which waits for every event so far"),
    **dict.fromkeys(("queue", "pending", "size", "metrics", "events"), "stats()"),
    **dict.fromkeys(("token", "authorize", "login", "authenticate", "connect"), "get_token()"),
}
_PACKAGE: Final = {
    **dict.fromkeys((*_SENDING, *_PROFILES), f"Client(), and its {_SEND}"),
    **dict.fromkeys(("init", "setup", "configure", "api_key", "key"), "Client(api_key)"),
    **dict.fromkeys(("Masivo", "MasivoClient", "SyncClient"), "Client"),
    **dict.fromkeys(("AsyncMasivo", "AsyncMasivoClient", "MasivoAsyncClient"), "AsyncClient"),
    **dict.fromkeys(("Event", "MasivoEvent"), "AnalyticsEvent, or a dict"),
}
_ENDS: Final = ("shutdown", "stop", "disconnect", "close", "aclose")
_AWAITED: Final = ("flush", "get_token")
_RESULT: Final = "SendEventResult, or raises the error"
_DELIVERY: Final = ("result", "wait", "get", "status", "success", "data", "ok", "failed", "error")


_OF_DRIVERS: Final = frozenset(
    ("at", "buffer", "claim", "customer", "encoded", "outcome", "peek", "position")
)
"""The attributes of deliveries that are for drivers, not for callers."""


def public_names(delivery: object) -> list[str]:
    """The names of a delivery that a shell completes."""
    return sorted({*dir(type(delivery))} - _OF_DRIVERS)


def no_attribute(thing: object, name: str) -> AttributeError:
    """The error for an attribute that a client or a delivery does not have."""
    kind = type(thing)
    waits = hasattr(kind, "__await__") or hasattr(kind, "aclose")  # in a loop
    meant = None
    if hasattr(kind, "send_analytics_event"):
        plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()  # sendAnalyticsEvent
        meant = _CLIENT.get(plain)
        if name in _ENDS:
            meant = "await aclose()" if waits else "close()"
        elif plain != name and hasattr(kind, plain):
            meant = _SEND if plain in _SEND else f"{plain}()"
        if meant is not None and waits and meant.startswith(_AWAITED):
            meant = f"await {meant}"
    elif name in _DELIVERY:
        meant = (
            f"await the delivery: it gives a {_RESULT}"
            if waits
            else (f"result(), which gives a {_RESULT}")
        )
    text = f"{kind.__name__!r} object has no attribute {name!r}"
    if meant is not None:
        text += f": {meant}" if meant.startswith("await the") else f": use {meant}"
    return AttributeError(text, name=name, obj=thing)


def no_name(package: str, names: list[str], name: str) -> AttributeError:
    """The error for a name that the package does not have.

    Args:
        package: the package's name.
        names: the names that it has.
        name: the name that was asked for.
    """
    meant = _PACKAGE.get(name)
    if f"Masivo{name}" in names:  # ValidationError
        meant = f"Masivo{name}"
    text = f"module {package!r} has no attribute {name!r}"
    return AttributeError(text if meant is None else f"{text}: use {meant}", name=name)
