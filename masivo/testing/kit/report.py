"""The message of an expectation that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from reprlib import Repr
from typing import TYPE_CHECKING, Final, cast

from masivo import MasivoAuthError
from masivo._async.session import LOOP_CLOSED

from .matching import MISSING, Field, compare, nearness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masivo.protocol import Json

    from .recorder import Sent

__all__ = ["call", "listing", "nearest", "others"]

_MOST: Final = 10
"""The number of events that are listed, the last ones."""

_KEY: Final = (
    "the emulator accepts the key in MASIVO_API_KEY, which Client() takes by default; to accept "
    "another: masivo_emulator(client_key=…) as the test's marker, or masivo_options of a "
    "MasivoTestCase"
)

_LOOP: Final = (
    "Starlette's TestClient runs each request in a loop of its own, which it then closes: in `with "
    "TestClient(app) as http:` all requests share a loop"
)

_short = Repr()
_short.maxstring = _short.maxother = 60
_short.maxdict = _short.maxlist = 6
_short.maxlevel = 4


def call(name: str, fields: Mapping[str, object], **extra: object) -> str:
    """Return the failed call, as the test may have written it."""
    shown = [f"{name}={_expected(value)}" for name, value in fields.items()]
    shown += [f"{name}={value!r}" for name, value in extra.items() if value is not None]
    return f"masivo_events.{name}({', '.join(shown)})"


def nearest(fields: Mapping[str, object], events: Sequence[Mapping[str, Json]]) -> list[str]:
    """Return the nearest event that does not match, field by field."""
    comparisons = enumerate([compare(fields, event) for event in events], 1)
    compared = {nth: each for nth, each in comparisons if not all(field.fits for field in each)}
    if not compared:
        return []
    # The last of several equally near ones.
    best = max(compared, key=lambda number: (nearness(compared[number]), number))
    width = max(len(field.path) for field in compared[best])
    return [
        f"the nearest is number {best}:" if len(events) > 1 else "the difference:",
        *(_line(field, width) for field in compared[best]),
    ]


def _event(event: Mapping[str, Json]) -> str:
    return ", ".join(f"{name}={_short.repr(value)}" for name, value in event.items())


def _line(field: Field, width: int) -> str:
    start = f"    {'  ' if field.fits else '!='} {field.path:<{width}}  "
    if field.fits:
        return start + _short.repr(field.found)
    found = "missing" if field.found is MISSING else _short.repr(field.found)
    note = f" ({field.note})" if field.note else ""
    return f"{start}{found}, expected {_expected(field.expected)}{note}"


def _expected(value: object) -> str:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, object]", value)
        return f"{{{', '.join(f'{name!r}: {_expected(each)}' for name, each in fields.items())}}}"
    name: object = getattr(cast("Callable[..., object]", value), "__name__", None)
    if callable(value) and isinstance(name, str):
        return f"<{name.strip('<>')}>"
    return _short.repr(value)


def listing(title: str, events: Sequence[Mapping[str, Json]]) -> list[str]:
    """Return a list of events, limited to the last ones."""
    first = max(0, len(events) - _MOST)
    lines = [f"    {nth}. {_event(event)}" for nth, event in enumerate(events, 1)]
    if first:
        lines = [f"    ({first} before)", *lines[first:]]
    return [title, *lines]


def others(records: Sequence[Sent]) -> list[str]:
    """Return the events that do not count as sent, and why."""
    lines: list[str] = []
    for record in records:
        event = record.event
        if record.state == "failed":
            kind = type(record.error).__name__
            lines.append(f"failed, and so not counted: {_event(event)}: {kind}: {record.error}")
        elif record.state == "disabled":
            lines.append(f"passed to a disabled client, and so not sent: {_event(event)}")
    refused = any(
        type(record.error) is MasivoAuthError and record.error.status == HTTPStatus.UNAUTHORIZED
        for record in records
    )
    left = any(record.error is not None and LOOP_CLOSED in str(record.error) for record in records)
    return lines[-_MOST:] + [_KEY] * refused + [_LOOP] * left
