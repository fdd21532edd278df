"""The advice for attributes that do not exist, and the names that a shell completes."""

from __future__ import annotations

from typing import Final

__all__ = ["no_attribute", "public_names"]

_SEND: Final = "send_analytics_event(event)"
_CLIENT: Final = {
    **dict.fromkeys(("send", "send_event", "track", "emit", "capture", "enqueue", "put"), _SEND),
    **dict.fromkeys(
        ("send_batch", "send_events", "send_many", "send_analytics_events"),
        f"{_SEND} for each event; batches form by themselves",
    ),
    **dict.fromkeys(("wait", "join"), "flush(), which waits for every event so far"),
}
_ENDS: Final = ("shutdown", "stop", "disconnect", "close", "aclose")
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
        meant = _CLIENT.get(name)
        if name in _ENDS:
            meant = "await aclose()" if waits else "close()"
        elif meant is not None and waits and meant.startswith("flush"):
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
