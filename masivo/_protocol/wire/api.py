"""The assumptions about the API that a user can change, in one dataclass."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from masivo._protocol.errors import MasivoConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo._protocol.json import Json

__all__ = ["PUBLIC_BASE_URL", "RESERVED_TYPES", "Api", "is_header_value", "is_text"]

PUBLIC_BASE_URL: Final = "https://app.masivo.ai/api/storefront/v1"
"""The vendor's public endpoint (``docs/explanation/wire.md#documented-by-the-vendor``)."""

RESERVED_TYPES: Final = frozenset(
    {"PURCHASE", "ABANDONED_CART", "BIRTHDAY", "REGISTRATION", "TIER_ADJUSTMENT"}
)

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


def is_header_value(text: str) -> bool:
    """Return whether ``text`` can be sent as a credential in a header: visible ASCII alone."""
    return _VISIBLE_ASCII.fullmatch(text) is not None


def is_text(value: object) -> bool:
    """Return whether it is a str that UTF-8 can encode: one without lone surrogates."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def _says_server(status: int, body: Json) -> bool:
    """The default of ``Api.is_server_key_refusal``: 400, 401 or 403 with the word "server"."""
    if status not in (400, 401, 403) or not isinstance(body, dict):
        return False
    said = " ".join(str(body.get(key, "")) for key in ("error", "message", "details"))
    return re.search(r"\bserver\b", said, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Api:
    """Assumptions about the API: paths, the form of a batch's body, headers, reserved types.

    The vendor documents few of them (``docs/explanation/wire.md#not-public``). Where your API
    differs, give other values.

    Raises:
        MasivoConfigError: a field is of the wrong type, or cannot be sent.
    """

    authorize_path: str = "/auth/authorize"
    """Path of the authorization, below ``base_url``."""
    events_path: str = "/behavior/events/bulk"
    """Path of batches, below ``base_url``."""
    events_key: str | None = "events"
    """The key of the events in a batch's body; None: the body is the bare array."""
    content_encoding: Literal["gzip"] | None = None
    """The encoding of a batch's body: ``"gzip"`` (RFC 9110, 8.4.1.3), or None for no encoding.
    ``max_batch_bytes`` bounds the body before it is encoded."""
    sdk_header: str | None = "client"
    """The value of ``x-masivo-sdk`` at the authorization; None: no such header."""
    reserved_types: frozenset[str] = RESERVED_TYPES
    """Event types that only a SERVER key may send."""
    stamp_issued_at: bool = True
    """True: an event without ``issued_at`` gets the time of the call, by the server's clock."""
    max_age: float | None = 259_200.0
    """The age in seconds (72 h), counted from ``issued_at``, past which the API rejects an event: a
    client with a spool does not send such an event. None: no limit."""
    is_server_key_refusal: Callable[[int, Json], bool] = field(default=_says_server, repr=False)
    """Takes the status and the body of a failed authorization; returns True if a SERVER key was
    used."""

    def __post_init__(self) -> None:
        for name in ("authorize_path", "events_path"):
            path: object = getattr(self, name)
            if not (
                isinstance(path, str) and path.startswith("/") and _VISIBLE_ASCII.fullmatch(path)
            ):
                raise MasivoConfigError(
                    f"Api.{name} must be a path that starts with '/', in visible ASCII"
                )
        if self.events_key is not None and not is_text(self.events_key):
            raise MasivoConfigError("Api.events_key must be a str that UTF-8 can encode, or None")
        if self.content_encoding not in (None, "gzip"):
            raise MasivoConfigError("Api.content_encoding must be 'gzip', or None for no encoding")
        header: object = self.sdk_header
        if header is not None and not (isinstance(header, str) and is_header_value(header)):
            raise MasivoConfigError("Api.sdk_header must be a str in visible ASCII, or None")
        types: object = self.reserved_types
        if isinstance(types, str) or not isinstance(types, Collection):
            raise MasivoConfigError("Api.reserved_types must be a set of str")
        if not all(isinstance(each, str) for each in self.reserved_types):
            raise MasivoConfigError("Api.reserved_types must hold str only")
        object.__setattr__(self, "reserved_types", frozenset(self.reserved_types))
        age: object = self.max_age
        if age is not None and (
            isinstance(age, bool) or not isinstance(age, int | float) or not age > 0
        ):
            raise MasivoConfigError("Api.max_age must be a number of seconds above 0, or None")
        if not callable(self.is_server_key_refusal):
            raise MasivoConfigError("Api.is_server_key_refusal must be callable")
        if not isinstance(self.stamp_issued_at, bool):
            raise MasivoConfigError("Api.stamp_issued_at must be True or False")
