"""Every error that the package raises (``docs/reference/guarantees.md#errors``). The errors for
responses are made in ``wire/responses``.

::

    MasivoError                    the API responded to an event request with an error
    ├── MasivoAuthError            authorization failed, or a second 401 after a fresh token
    │   └── MasivoServerKeyError   a SERVER key was used where a CLIENT key belongs
    ├── MasivoNetworkError         no usable response: DNS, connect, TLS, timeout, …
    ├── MasivoValidationError      the event is invalid: it was never buffered (a ValueError)
    ├── MasivoConfigError          a setting, or the timeout of a call, is wrong (a ValueError)
    ├── MasivoQueueFullError       the buffer, the spool or its disk was full
    └── MasivoClosedError          the client was closed or destroyed first
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .json import Json

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

_MESSAGE_LIMIT = 500
_MEANT: Final = {
    **dict.fromkeys(("status_code", "http_status", "code", "error_code"), "use status"),
    **dict.fromkeys(("response", "body", "data", "errors"), "use details"),
    **dict.fromkeys(("reason", "text"), "use message"),
    **dict.fromkeys(("is_retryable", "temporary"), "use retryable"),
    "cause": "use __cause__",
    "event": "set on_error, which gets the event with its error",
}
"""Advice for the attributes of other packages' errors."""


def no_attribute(owner: object, name: str, meant: Mapping[str, str]) -> AttributeError:
    """The error for a missing attribute, with advice where there is some."""
    text = f"{type(owner).__name__!r} object has no attribute {name!r}"
    if name in meant:  # without ``obj``, for which Python's traceback adds a guess of its own
        return AttributeError(f"{text}: {meant[name]}", name=name)
    return AttributeError(text, name=name, obj=owner)


class MasivoError(Exception):
    """The root of all errors of the package, and the error for a complete response that has an
    error status or whose body is not JSON.

    Attributes:
        message: what happened: the ``error`` of the API's response, else its ``message``, else the
            package's own text.
        status: the HTTP status, or None if there was no response (see also MasivoNetworkError).
        details: the ``details`` of the response, else its parsed body, else its text, else None.
        spooled: True if the event is kept on disk and will be sent later: do not send it again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        details: Json = None,
        spooled: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.details = details
        self.spooled = spooled

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise no_attribute(self, name, _MEANT)

    @property
    def retryable(self) -> bool:
        """True if sending the same event again later may help: after no usable response, 408, 429
        or 5xx, and for a refused key, a full buffer or a closed client. False if the error is
        ``spooled``, or if the headers of a 2xx to the batch had arrived, as the event may have been
        accepted then."""
        return not self.spooled and self._may_be_retried

    @property
    def _may_be_retried(self) -> bool:
        return self.status is not None and (self.status in (408, 429) or self.status >= 500)

    def __str__(self) -> str:
        text = self.message if self.status is None else f"{self.message} (HTTP {self.status})"
        return f"{text}; the event is kept on disk and will be sent later" if self.spooled else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, status={self.status!r})"

    def __reduce__(
        self,
    ) -> tuple[Callable[..., MasivoError], tuple[type[MasivoError], str, int | None, Json, bool]]:
        return _rebuild, (type(self), self.message, self.status, self.details, self.spooled)

    def copy(self) -> Self:
        """A copy with a traceback of its own: raising an exception changes it, so each waiter needs
        one. The cause is shared, as it is never raised again."""
        return self._with(spooled=self.spooled)

    def as_spooled(self) -> Self:
        """A copy that says that the event is kept on disk."""
        return self._with(spooled=True)

    def _with(self, *, spooled: bool) -> Self:
        error = type(self)(self.message, status=self.status, details=self.details, spooled=spooled)
        error.__cause__ = self.__cause__
        return error


def _rebuild(
    kind: type[MasivoError], message: str, status: int | None, details: Json, spooled: bool
) -> MasivoError:
    return kind(message, status=status, details=details, spooled=spooled)


class MasivoAuthError(MasivoError):
    """Authorization failed, or a batch that was sent again with a fresh token got a second 401."""

    @property
    def _may_be_retried(self) -> bool:
        # True for a refused key, False where ``base_url`` is wrong.
        return self.status is None or self.status >= 400


class MasivoServerKeyError(MasivoAuthError):
    """The key is a SERVER key; this package needs a CLIENT key. The message says what to do."""


class MasivoNetworkError(MasivoError):
    """No usable response: DNS, connect, TLS, timeout, a response that broke off, is too large or is
    malformed HTTP.

    ``status`` is set if the headers of the response had arrived. If it is a 2xx, the error is not
    ``retryable``, as the events may have been accepted. This does not hold for an authorization,
    which holds no event: after a 2xx that broke off, ``status`` is None and the error is
    ``retryable``.
    """

    @property
    def _may_be_retried(self) -> bool:
        # False if the response had begun with success.
        return self.status is None or not 200 <= self.status < 300


class MasivoValidationError(MasivoError, ValueError):
    """The event is invalid: the call itself raises, and nothing is buffered. The message names the
    place in the event (``product.tags[2]``) and how to correct it."""


class MasivoConfigError(MasivoError, ValueError):
    """A setting, or the timeout of a call, is wrong, or ``get_token`` was called on a disabled
    client. The message says which, and shows no key."""


class MasivoQueueFullError(MasivoError):
    """The buffer (``max_queue`` events or ``max_queue_bytes`` bytes), the spool or its disk was
    full; the message says which."""

    @property
    def _may_be_retried(self) -> bool:
        return True


class MasivoClosedError(MasivoError):
    """The client was closed or destroyed before the event was delivered, or before the call."""

    @property
    def _may_be_retried(self) -> bool:
        return True


for _name in __all__:
    # Tracebacks and pickles name them as users import them.
    globals()[_name].__module__ = "masivo"


def closed_error() -> MasivoClosedError:
    """The error of a call on a closed client."""
    return MasivoClosedError("the client is closed; make a new one to send more")


def one_line(text: str) -> str:
    """Make a text from outside safe for a terminal and a log: one short line without control
    characters or marks that change the direction of text."""
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"
