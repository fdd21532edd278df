"""The token in an authorization's response, and its lifetime."""

from __future__ import annotations

import binascii

from masivo._protocol.json import parse
from masivo._protocol.values import LONGEST

from .api import is_header_value
from .dates import parse_http_date

__all__ = ["lifetime", "token_in"]


def token_in(body: bytes) -> str | None:
    """The token in an authorization's response (``{"data": "<token>"}``), None without one."""
    value = parse(body)
    token = value.get("data") if isinstance(value, dict) else None
    return token if isinstance(token, str) and is_header_value(token) else None


def lifetime(token: str, date: str | None, wall_time: float) -> float | None:
    """The seconds until a token's own expiry (``LONGEST`` at most), None if it is unknown.

    It is known by the claim ``exp`` of a JWT (RFC 7519, section 4.1.4), by the server's clock: the
    response's ``Date``, else its claim ``iat``, else our wall clock. No claim is required.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    # Base64url, or what some servers write for it: a token that is no JWT can look like one.
    part = parts[1].replace("-", "+").replace("_", "/")
    try:
        claims = parse(binascii.a2b_base64(part + "=="))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(claims, dict):
        return None
    expires, issued = claims.get("exp"), claims.get("iat")
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        return None
    now = parse_http_date(date) if date is not None else None
    try:
        if now is None:
            now = float(issued) if isinstance(issued, int | float) else wall_time
        return min(float(expires) - now, LONGEST)
    except OverflowError:  # an integer beyond all floats
        return None
