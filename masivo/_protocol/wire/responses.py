"""The meaning of a response, as one of a few small values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from masivo._protocol.errors import (
    MasivoAuthError,
    MasivoError,
    MasivoServerKeyError,
    one_line,
)
from masivo._protocol.json import NOT_JSON, Json, parse
from masivo._protocol.values import LONGEST

from .dates import parse_http_date
from .statuses import KEY_AT_FAULT, REJECTED, RETRYABLE
from .tokens import lifetime, token_in

if TYPE_CHECKING:
    from masivo._protocol.values import Response

    from .api import Api

__all__ = [
    "CHECK_BASE_URL",
    "AuthorizationVerdict",
    "BatchVerdict",
    "Delivered",
    "Granted",
    "Refused",
    "Rejected",
    "Retryable",
    "Unauthorized",
    "Unusable",
    "read_authorization",
    "read_batch",
    "retry_after",
]

CHECK_BASE_URL: Final = (
    "Check base_url (or MASIVO_BASE_URL): this does not look like a response of the Masivo API."
)

_TEXT_LIMIT: Final = 500
"""The most that an error's details keep of a body that is not JSON, in bytes."""


class Delivered(msgspec.Struct, frozen=True):
    """The API accepted every event of the batch."""

    data: Json
    """The whole body, parsed; None for an empty one."""


class Granted(msgspec.Struct, frozen=True):
    """The key was granted a token."""

    token: str
    lifetime: float | None
    """Seconds until its own expiry; None if it is unknown."""


class Retryable(msgspec.Struct, frozen=True):
    """The same request may succeed later."""

    error: MasivoError
    wait: float | None
    """The seconds that ``Retry-After`` asks for, if it does."""


class Rejected(msgspec.Struct, frozen=True):
    """The API blames the events of the batch."""

    error: MasivoError


class Unauthorized(msgspec.Struct, frozen=True):
    """The API does not accept the token."""

    error: MasivoAuthError
    """The error to use if a fresh token is not accepted either."""


class Refused(msgspec.Struct, frozen=True):
    """The API refuses the key, for good."""

    error: MasivoAuthError


class Unusable(msgspec.Struct, frozen=True):
    """Any other response: ``base_url`` is wrong, or the API has changed."""

    error: MasivoError


BatchVerdict: TypeAlias = Delivered | Unauthorized | Retryable | Rejected | Unusable
AuthorizationVerdict: TypeAlias = Granted | Refused | Retryable | Unusable


def read_batch(response: Response, wall_time: float) -> BatchVerdict:
    """The meaning of the response to a batch.

    Args:
        response: without secrets in its body.
        wall_time: our wall clock, for a ``Retry-After`` that is a date.
    """
    status, body = response.status, response.body
    if 200 <= status < 300:
        data = parse(body)
        return Unusable(_not_json(status, body)) if data is NOT_JSON else Delivered(data)
    if status == 401:
        return Unauthorized(_second_401(body))
    error = _batch_error(status, body)
    if status in RETRYABLE:
        return Retryable(error, retry_after(response, wall_time))
    return Rejected(error) if status in REJECTED else Unusable(error)


def read_authorization(
    response: Response, body: bytes, api: Api, wall_time: float
) -> AuthorizationVerdict:
    """The meaning of the response to an authorization.

    Args:
        response: as it came: its body may hold the token.
        body: its body without secrets.
        api: how the API is assumed to work.
        wall_time: our wall clock, for a ``Retry-After`` or an expiry without a ``Date``.
    """
    status = response.status
    if 200 <= status < 300 and (token := token_in(response.body)) is not None:
        return Granted(token, lifetime(token, response.headers.get("date"), wall_time))
    error = _authorization_error(status, body, server_key=_is_server_key(api, status, body))
    if status in RETRYABLE:
        return Retryable(error, retry_after(response, wall_time))
    return Refused(error) if 400 <= status < 500 else Unusable(error)


def retry_after(response: Response, wall_time: float) -> float | None:
    """The seconds that ``Retry-After`` asks for (``LONGEST`` at most: no driver could sleep much
    longer), None without a usable one.

    Source: RFC 9110, section 10.2.3: seconds, or a date. A date is compared with the ``Date`` of
    the same response, else with our wall clock.
    """
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST)
    moment = parse_http_date(text)
    if moment is None:
        return None
    server_time = parse_http_date(response.headers.get("date", ""))
    return min(max(0.0, moment - (wall_time if server_time is None else server_time)), LONGEST)


# ── Errors ───────────────────────────────────────────────────────────────────────────────────

_OURS: Final = {
    400: "the API rejected the request as invalid",
    401: "the API did not accept the key",
    403: "the API denied access",
    404: "the API has no such address",
    408: "the API gave up waiting for the request",
    413: "the API rejected the request as too large",
    422: "the API rejected the events as invalid",
    429: "the API's rate limit is exhausted",
}
"""Our own texts, for responses without a message."""


def _our_text(status: int) -> str:
    if status in _OURS:
        return _OURS[status]
    if 300 <= status < 400:
        return f"the API responded with a redirect, which is never followed. {CHECK_BASE_URL}"
    return "the API failed" if status >= 500 else "the API responded with an error"


def _parts(body: bytes) -> tuple[str | None, Json]:
    """The message that an error response carries (None without one), and its details."""
    value = parse(body)
    if value is NOT_JSON:
        text = body.decode("utf-8", "replace").strip()
        return None, text or None
    if not isinstance(value, dict):
        return None, value
    details = value.get("details")
    for said in (value.get("error"), value.get("message")):
        if isinstance(said, str) and (text := one_line(said)):
            return text, value if details is None else details
    return None, value if details is None else details


def _batch_error(status: int, body: bytes) -> MasivoError:
    """The error for a batch: a plain MasivoError for every status except 401."""
    message, details = _parts(body)
    if message is None:
        message = _our_text(status)
    if status == 404:
        message = f"{message}. {CHECK_BASE_URL}"
    return MasivoError(message, status=status, details=details)


def _second_401(body: bytes) -> MasivoAuthError:
    """The error for a batch that got a 401 with a fresh token, too."""
    message, details = _parts(body)
    said = message or "the API responded with 401"
    return MasivoAuthError(
        f"{said}, even with a fresh token; check the key's rights",
        status=401,
        details=details,
    )


def _not_json(status: int, body: bytes) -> MasivoError:
    """The error for a 2xx that is complete, but neither empty nor JSON."""
    text = body[:_TEXT_LIMIT].decode("utf-8", "replace").strip()
    return MasivoError(
        f"the response is not JSON. {CHECK_BASE_URL}", status=status, details=text or None
    )


def _is_server_key(api: Api, status: int, body: bytes) -> bool:
    value = parse(body)
    if 200 <= status < 300 or value is NOT_JSON:
        return False
    try:
        return bool(api.is_server_key_refusal(status, value))
    except Exception:  # noqa: BLE001 (a caller's function must not stop the machine)
        return False


def _authorization_error(status: int, body: bytes, *, server_key: bool) -> MasivoAuthError:
    """The error for an authorization without a token."""
    message, details = _parts(body)
    said = message or _our_text(status)
    if server_key:
        return MasivoServerKeyError(
            "this is a SERVER key; masivo needs a CLIENT key. Create one in the Masivo dashboard "
            "and pass it as api_key (or MASIVO_API_KEY); keep the SERVER key for the REST API on "
            f"your backend. The API said: {said}",
            status=status,
            details=details,
        )
    if 200 <= status < 300:
        text = f"the response to the authorization holds no token. {CHECK_BASE_URL}"
    elif 300 <= status < 400:
        text = _our_text(status)
    else:
        cure = (
            " Check the API key (api_key or MASIVO_API_KEY): it must be a CLIENT key of this "
            "account."
            if status in KEY_AT_FAULT
            else f" {CHECK_BASE_URL}"
            if status in (404, 405, 410)
            else ""
        )
        text = f"authorization failed: {said.rstrip('.')}.{cure}"
    return MasivoAuthError(text, status=status, details=details)
