"""The caller's ``before_send``, which changes or drops events.

The rules: ``docs/reference/guarantees.md#before_send``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from masivo._protocol.errors import MasivoValidationError

from .encoding import as_dict
from .plain import check_distinct, reading

if TYPE_CHECKING:
    from masivo._protocol.values import BeforeSend

__all__ = ["replaced"]


def replaced(event: Mapping[str, object], before_send: BeforeSend) -> Mapping[str, object] | None:
    """Return the mapping to send in an event's place; None to drop it.

    Args:
        event: the caller's.
        before_send: is given a copy, as it may change what it is given.

    Raises:
        MasivoValidationError: the event is no mapping or cannot be read, or ``before_send`` raised
            or returned something other than a mapping: an event that could not be scrubbed is not
            sent.
    """
    try:
        with reading(""):
            given = {key: _copied(value, key) for key, value in as_dict(event).items()}
    except RecursionError:
        raise MasivoValidationError("the event is nested too deeply, or contains itself") from None
    try:
        result = before_send(given)
    except Exception as error:
        raise MasivoValidationError(
            f"before_send raised {type(error).__name__}, so the event was not accepted: an event "
            "that could not be scrubbed is not sent"
        ) from error
    if result is not None and not isinstance(cast("object", result), Mapping):
        raise MasivoValidationError(
            f"before_send returned {type(result).__name__}, so the event was not accepted: it must "
            "return a mapping such as the event, or None to drop it"
        )
    return result


def _copied(value: object, name: str) -> object:
    with reading(name):
        return _copy(value)


def _copy(value: object) -> object:
    """The value, with its mappings, lists and tuples copied at every depth."""
    if isinstance(value, Mapping):
        entries = list(cast("Mapping[object, object]", value).items())
        check_distinct([key for key, _ in entries], "")
        return {key: _copy(item) for key, item in entries}
    if isinstance(value, list):
        return [_copy(item) for item in cast("list[object]", value)]
    if isinstance(value, tuple):
        return tuple([_copy(item) for item in cast("tuple[object, ...]", value)])
    return value
