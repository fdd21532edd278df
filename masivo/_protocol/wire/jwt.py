"""Bearer tokens as a server makes them: JSON Web Tokens, signed with HMAC-SHA256 (RFC 7519).

Only the emulator and the relay use this: a client accepts any token (``tokens``).
"""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["claims_of", "signed"]


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


_HEADER: Final = _encode(b'{"alg":"HS256","typ":"JWT"}')


def signed(claims: Mapping[str, object], secret: bytes) -> str:
    """Return a token with these claims."""
    content = _HEADER + b"." + _encode(json.dumps(claims).encode())
    return (content + b"." + _encode(hmac.digest(secret, content, "sha256"))).decode()


def claims_of(token: str, secret: bytes) -> dict[str, object] | None:
    """Return the claims of a token that ``signed`` made with this secret; None for any other."""
    content, _, signature = token.encode("utf-8", "replace").rpartition(b".")
    header, _, claims = content.partition(b".")
    expected = _encode(hmac.digest(secret, content, "sha256"))
    if not hmac.compare_digest(expected, signature) or header != _HEADER:
        return None
    try:
        value: object = json.loads(urlsafe_b64decode(claims + b"=="))
    except (binascii.Error, ValueError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None
