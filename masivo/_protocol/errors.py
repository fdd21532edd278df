"""Every error that the package raises, and how a server's answer becomes one.

::

    MasivoError                    the API answered an event request with an error status
    ├── MasivoAuthError            authorization failed, or a second 401 after a fresh token
    │   └── MasivoServerKeyError   a SERVER key was used where a CLIENT key belongs
    ├── MasivoNetworkError         no usable answer: DNS, connect, TLS, timeout, broken response
    ├── MasivoValidationError      the event was refused before it was buffered (a ValueError)
    ├── MasivoConfigError          a constructor argument is wrong (a ValueError)
    ├── MasivoQueueFullError       the buffer was full
    └── MasivoClosedError          the client was closed or destroyed first
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .json import NOT_JSON, Json, parse

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MasivoAuthError",
    "MasivoClosedError",
    "MasivoConfigError",
    "MasivoError",
    "MasivoNetworkError",
    "MasivoQueueFullError",
    "MasivoServerKeyError",
    "MasivoValidationError",
]

CHECK_BASE_URL = (
    "Check base_url (or MASIVO_BASE_URL): this does not look like an answer of the Masivo API."
)

_MESSAGE_LIMIT = 500


class MasivoError(Exception):
    """The root of all errors of the package; itself, an error status of the API.

    Attributes:
        message: what happened; for an answer of the API its ``error``, else its ``message``,
            else a text of ours.
        status: the HTTP status, or None where there was no answer.
        details: the ``details`` of the answer where it has them, else its parsed body, else its
            text, else None.
    """

    def __init__(self, message: str, *, status: int | None = None, details: Json = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.details = details

    def __str__(self) -> str:
        return self.message if self.status is None else f"{self.message} (HTTP {self.status})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, status={self.status!r})"

    def __reduce__(
        self,
    ) -> tuple[Callable[..., MasivoError], tuple[type[MasivoError], str, int | None, Json]]:
        return _rebuild, (type(self), self.message, self.status, self.details)

    def copy(self) -> Self:
        """An equal error of its own traceback: raising an exception changes it, so every waiter
        needs one for itself. The cause is shared: it is never raised again."""
        error = type(self)(self.message, status=self.status, details=self.details)
        error.__cause__ = self.__cause__
        return error


def _rebuild(
    kind: type[MasivoError], message: str, status: int | None, details: Json
) -> MasivoError:
    return kind(message, status=status, details=details)


class MasivoAuthError(MasivoError):
    """Authorization failed, or a request was answered 401 again with a fresh token."""


class MasivoServerKeyError(MasivoAuthError):
    """The key is a SERVER key; this package needs a CLIENT key. The message says what to do."""


class MasivoNetworkError(MasivoError):
    """No usable answer: DNS, connect, TLS, timeout, a broken or malformed response.

    ``status`` is set where the status line had arrived before the answer broke off.
    """


class MasivoValidationError(MasivoError, ValueError):
    """The event was refused by the call itself, before it was buffered; the message names the
    place in the event (``product.tags[2]``) and the cure."""


class MasivoConfigError(MasivoError, ValueError):
    """A setting is wrong; the message names it. It never shows a key."""


class MasivoQueueFullError(MasivoError):
    """The buffer was full (``max_queue`` events or ``max_queue_bytes`` bytes)."""


class MasivoClosedError(MasivoError):
    """The client was closed or destroyed before this could be done."""


for _name in __all__:
    # Tracebacks and pickles name them as users import them.
    globals()[_name].__module__ = "masivo"


def closed_error() -> MasivoClosedError:
    """What a call on a closed client raises."""
    return MasivoClosedError("the client is closed; make a new one to go on sending")


# ── From an answer to an error ───────────────────────────────────────────────────────────────


def answer_parts(body: bytes) -> tuple[str | None, Json]:
    """The message that an error answer carries (None without one), and its details.

    Source: contract, section 4; ``wire.md``, "Error answers".
    """
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


def one_line(text: str) -> str:
    """A text from outside made fit for a terminal and a log: nothing in it moves a cursor, breaks
    a line or turns the direction of what follows; not too long."""
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


_OURS = {
    400: "the API refused the request as invalid",
    401: "the API refused the token",
    403: "the API refused access",
    404: "the API has no such address",
    408: "the API gave up waiting for the request",
    413: "the API refused the request as too large",
    422: "the API refused the events as invalid",
    429: "the API's rate limit is exhausted",
}


def _our_text(status: int) -> str:
    if status in _OURS:
        return _OURS[status]
    if 300 <= status < 400:
        return f"the API answered with a redirect, which is never followed. {CHECK_BASE_URL}"
    return "the API failed" if status >= 500 else "the API answered with an error"


def api_error(status: int, body: bytes) -> MasivoError:
    """The error for an event request that was answered with ``status``."""
    message, details = answer_parts(body)
    if message is None:
        message = _our_text(status)
    if status == 404:
        message = f"{message}. {CHECK_BASE_URL}"
    return MasivoError(message, status=status, details=details)


def second_401(body: bytes) -> MasivoAuthError:
    """The error for a request that was answered 401 with a fresh token too."""
    message, details = answer_parts(body)
    return MasivoAuthError(
        f"{message or _OURS[401]}, with a fresh token too; check the key's rights",
        status=401,
        details=details,
    )


def not_json_error(status: int, body: bytes) -> MasivoError:
    """The error for an event request answered 2xx with something that is not JSON."""
    text = body[:_MESSAGE_LIMIT].decode("utf-8", "replace").strip()
    return MasivoError(
        f"the answer is not JSON. {CHECK_BASE_URL}", status=status, details=text or None
    )


def authorization_error(status: int, body: bytes, *, server_key: bool) -> MasivoAuthError:
    """The error for a failed authorization.

    Args:
        status: of the answer; a 2xx here is one that carries no token.
        body: of the answer.
        server_key: whether ``Api.is_server_key_refusal`` said so.
    """
    message, details = answer_parts(body)
    if server_key:
        return MasivoServerKeyError(
            "this is a SERVER key; masivo needs a CLIENT key. Create one in the Masivo dashboard "
            "and pass it as api_key (or MASIVO_API_KEY); keep the SERVER key for the REST API on "
            f"your backend. The API said: {message or _our_text(status)}",
            status=status,
            details=details,
        )
    if 200 <= status < 300:
        return MasivoAuthError(
            f"the authorization was answered without a token. {CHECK_BASE_URL}",
            status=status,
            details=details,
        )
    if 300 <= status < 400:
        return MasivoAuthError(_our_text(status), status=status, details=details)
    cure = (
        " Check the API key (api_key or MASIVO_API_KEY): it must be a CLIENT key of this account."
        if status in (400, 401, 403, 422)
        else f" {CHECK_BASE_URL}"
        if status in (404, 405, 410)
        else ""
    )
    said = message or _our_text(status)
    return MasivoAuthError(
        f"authorization failed: {said.rstrip('.')}.{cure}", status=status, details=details
    )
