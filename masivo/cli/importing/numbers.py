"""JSON decoding that keeps numbers exactly as written."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec

__all__ = ["decode", "exact"]


def exact(text: str) -> float | Decimal:
    """Return a JSON number as a float if that is exact, else as a Decimal."""
    number = float(text)
    if number - number == 0.0 and (len(text) <= 16 or repr(number) == text):
        return number
    return Decimal(text)


_decode = msgspec.json.Decoder(float_hook=exact).decode


def decode(text: bytes | str) -> object:
    """Return what a text of JSON holds.

    Raises:
        msgspec.DecodeError: it is not JSON.
        ValueError: it has half of a surrogate pair, or another value that no event can hold.
        RecursionError: it is nested too deeply.
    """
    try:
        return _decode(text)
    except msgspec.DecodeError:
        if _has_lone_surrogate(text):  # which the error calls truncated, or invalid
            raise ValueError(
                r"it has half of a surrogate pair, such as \ud83d alone, which is no character"
            ) from None
        raise


def _has_lone_surrogate(text: bytes | str) -> bool:
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        pass
    return False
