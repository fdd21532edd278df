"""The required form of single outcomes, as a second opinion
(``docs/reference/guarantees.md#outcomes``; ``docs/reference/guarantees.md#errors``)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from masivo._protocol.errors import (
    MasivoAuthError,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
    MasivoServerKeyError,
)
from masivo.protocol import Failed, SendEventResult

from .frame import Violation

if TYPE_CHECKING:
    from collections.abc import Collection

    from masivo.protocol import Failure, Json, Outcome

__all__ = [
    "CLOSED",
    "FULL",
    "Delivered",
    "Expected",
    "Wrong",
    "api_error",
    "authorization_error",
    "broken",
    "check_outcome",
    "delivered",
    "parse",
    "second_401",
]

ALSO: Final[dict[type[MasivoError], type[Exception]]] = {
    MasivoServerKeyError: MasivoAuthError,
    MasivoConfigError: ValueError,
}
"""The other class of an error, so that an ``except`` catches what it names."""
REDACTED: Final = "[redacted]"
_NOT_JSON: Final = object()


@dataclass(frozen=True, slots=True)
class Delivered:
    """An event is to be delivered."""

    status: int
    data: Any


@dataclass(frozen=True, slots=True)
class Wrong:
    """An event, or a wait, is to end with an error."""

    kind: type[MasivoError]
    status: int | None = None
    says: tuple[str, ...] = ()
    """What the message must hold."""
    details: Any = None
    cause: type[BaseException] | None = None
    """What the transport had raised."""


Expected: TypeAlias = Delivered | Wrong

CLOSED: Final = Wrong(MasivoClosedError)
FULL: Final = Wrong(MasivoQueueFullError, says=("full",))


def parse(body: bytes, secrets: Collection[str]) -> Any:
    """A body's value without the secrets in it; ``_NOT_JSON`` if it is not JSON."""
    if not body.strip():
        return None
    try:
        return _clean(json.loads(body), secrets)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _clean(value: Json, secrets: Collection[str]) -> Json:
    if isinstance(value, str):
        return _without(value, secrets)
    if isinstance(value, list):
        return [_clean(item, secrets) for item in value]
    if isinstance(value, dict):
        return {key: _clean(item, secrets) for key, item in value.items()}
    return value


def _without(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        # A short one is only looked for as a word.
        edge = "" if len(secret) >= 8 else r"\b"
        text = re.sub(edge + re.escape(secret) + edge, REDACTED, text)
    return text


def _read(body: bytes, secrets: Collection[str]) -> tuple[str | None, Any]:
    """The message and the details of an error's body."""
    value = parse(body, secrets)
    if value is _NOT_JSON:
        return None, _without(body.decode("utf-8", "replace").strip(), secrets) or None
    if not isinstance(value, dict):
        return None, value
    fields = cast("dict[str, Any]", value)
    details: Any = fields.get("details")
    if details is None:
        details = fields
    for name in ("error", "message"):
        said: Any = fields.get(name)
        if isinstance(said, str) and said.strip():
            return re.sub(r"\s+", " ", said.strip())[:400], details
    return None, details


def _says(message: str | None, *more: str) -> tuple[str, ...]:
    return ((message,) if message else ()) + more


def delivered(status: int, body: bytes, secrets: Collection[str]) -> Expected:
    """The outcome of events by a complete 2xx."""
    data = parse(body, secrets)
    if data is _NOT_JSON:
        text = _without(body[:500].decode("utf-8", "replace").strip(), secrets) or None
        return Wrong(MasivoError, status, ("base_url",), text)
    return Delivered(status, data)


def api_error(status: int, body: bytes, secrets: Collection[str]) -> Wrong:
    """The outcome of events by an error status that ends them."""
    message, details = _read(body, secrets)
    more: tuple[str, ...] = ()
    if status == 404 or (message is None and 300 <= status < 400):
        more = ("base_url",)
    elif message is None:
        more = {429: ("limit",), 413: ("large",), 401: ("token",), 403: ("access",)}.get(status, ())
    return Wrong(MasivoError, status, _says(message, *more), details)


def second_401(body: bytes, secrets: Collection[str]) -> Wrong:
    """The outcome of events by a second 401 in a row."""
    message, details = _read(body, secrets)
    return Wrong(MasivoAuthError, 401, _says(message, "fresh token"), details)


def authorization_error(
    status: int, body: bytes, secrets: Collection[str], *, stubborn: bool
) -> Wrong:
    """The outcome of those who wait for a token, by a response without one.

    Args:
        stubborn: whether ``Api.is_server_key_refusal`` raises, and so decides nothing.
    """
    message, details = _read(body, secrets)
    value = parse(body, secrets)
    if not stubborn and status in (400, 401, 403) and isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        texts = (str(fields.get(name, "")) for name in ("error", "message", "details"))
        if re.search(r"\bserver\b", " ".join(texts), re.IGNORECASE):
            return Wrong(MasivoServerKeyError, status, ("SERVER key", "CLIENT key"), details)
    if 200 <= status < 400:
        return Wrong(MasivoAuthError, status, ("base_url",), details)
    more = ("base_url",) if status in (404, 405, 410) else ()
    if status in (400, 401, 403, 422):
        more = ("CLIENT key",)
    # The message is followed by a cure, so a full stop at its end may be missing.
    return Wrong(MasivoAuthError, status, _says(message and message.rstrip("."), *more), details)


def broken(failure: Failure, secrets: Collection[str]) -> Wrong:
    """The outcome of events whose request got no complete response."""
    if failure.fatal is not None:
        return Wrong(MasivoConfigError)
    cause = None if failure.cause is None else type(failure.cause)
    said = _without(failure.reason, secrets)
    says = (said,) if failure.sent else (said, "nothing was sent")
    return Wrong(MasivoNetworkError, failure.status, says, None, cause)


def check_outcome(what: str, outcome: Outcome | None, expected: Expected) -> None:
    """Raise a Violation unless ``outcome`` is as expected."""
    if isinstance(expected, Delivered):
        if not isinstance(outcome, SendEventResult):
            raise Violation("outcome", f"{what}: delivered was due, not {shown(outcome)}")
        given = (outcome.success, outcome.status, outcome.data)
        if given != (True, expected.status, expected.data):
            raise Violation("result", f"{what}: {given} instead of {expected}")
        return
    if not isinstance(outcome, Failed):
        raise Violation("outcome", f"{what}: {expected} was due, not {shown(outcome)}")
    check_error(what, outcome.error, expected)


def _is_retryable(error: MasivoError) -> bool:
    """Whether to send the same event again later may help."""
    status = error.status or 0
    if isinstance(error, MasivoQueueFullError | MasivoClosedError):
        return True
    if isinstance(error, MasivoNetworkError):
        return not 200 <= status <= 299
    if isinstance(error, MasivoAuthError):
        return status >= 400
    return status in (408, 429) or status >= 500


def check_error(what: str, error: MasivoError, expected: Wrong) -> None:
    """Raise a Violation unless ``error`` is as expected."""
    if type(error) is not expected.kind or error.status != expected.status:
        raise Violation("error", f"{what}: {error!r} instead of {expected}")
    if error.retryable != _is_retryable(error):
        raise Violation("retryable", f"{what}: {error!r} says {error.retryable}")
    if not isinstance(error, ALSO.get(expected.kind, MasivoError)):
        raise Violation("error", f"{what}: {expected.kind} is of the wrong family")
    cause = error.__cause__
    if (None if cause is None else type(cause)) is not expected.cause:
        raise Violation("cause", f"{what}: {cause!r} instead of {expected}")
    if cause is not None and cause.__traceback__ is not None:
        raise Violation("cause", f"{what}: {cause!r} keeps its traceback")
    if error.details != expected.details:
        raise Violation("details", f"{what}: {error.details!r} instead of {expected.details!r}")
    for text in expected.says:
        if text not in error.message:
            raise Violation("message", f"{what}: {error.message!r} does not say {text!r}")
    if len(error.message) > 700 or re.search(r"[\x00-\x1f]", error.message):
        raise Violation("message", f"{what}: not fit for a log: {error.message!r}")


def shown(outcome: object) -> str:
    """An outcome, for people."""
    return repr(outcome.error) if isinstance(outcome, Failed) else repr(outcome)
