"""Texts from outside, made fit to be shown: without the key and the token (contract, section 2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .json import NOT_JSON, Json, encode, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["redacted", "redacted_body"]

_REDACTED: Final = "[redacted]"

_SHORT: Final = 8
"""Secrets shorter than this are looked for as whole words only: a part of a common word that is
equal to one gives nothing away, and answers must stay readable."""


def redacted(text: str, secrets: Sequence[str]) -> str:
    """A text without the secrets, as they are or as JSON writes them."""
    for secret in (*(encode(each)[1:-1].decode() for each in secrets), *secrets):
        if len(secret) >= _SHORT:
            text = text.replace(secret, _REDACTED)
        else:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _REDACTED, text)
    return text


def redacted_body(body: bytes, secrets: Sequence[str]) -> bytes:
    """An answer's body without the secrets that it might echo, escaped or not. JSON stays JSON."""
    if b"\\" not in body and not any(secret.encode() in body for secret in secrets):
        return body
    value = parse(body)
    if value is not NOT_JSON:
        try:
            return encode(_redacted_value(value, secrets))
        except RecursionError:  # nested too deeply for that, but for nothing else: a text
            body = encode(value)
    text = redacted(body.decode("utf-8", "surrogateescape"), secrets)
    return text.encode("utf-8", "surrogateescape")


def _redacted_value(value: Json, secrets: Sequence[str]) -> Json:
    if isinstance(value, str):
        return redacted(value, secrets)
    if isinstance(value, list):
        return [_redacted_value(item, secrets) for item in value]
    if isinstance(value, dict):
        return {
            redacted(key, secrets): _redacted_value(item, secrets) for key, item in value.items()
        }
    if isinstance(value, int | float) and str(value) in secrets:
        return _REDACTED
    return value
